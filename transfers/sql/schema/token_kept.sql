CREATE TRIGGER token_kept BEFORE DELETE ON wallets_token
    FOR EACH ROW EXECUTE FUNCTION coppice_refuse('history names tokens for ever');
