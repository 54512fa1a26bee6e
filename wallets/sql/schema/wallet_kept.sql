CREATE TRIGGER wallet_kept BEFORE DELETE ON wallets_wallet
    FOR EACH ROW EXECUTE FUNCTION coppice_refuse('transfers and history name wallets for ever');
