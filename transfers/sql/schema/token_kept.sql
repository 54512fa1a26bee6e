CREATE TRIGGER token_kept BEFORE DELETE ON wallets_token
    FOR EACH ROW EXECUTE FUNCTION coppice_refuse('a token cannot be deleted: the history refers to it');
