-- trusts_trust.managed_created_at is a copy of it.
CREATE TRIGGER wallet_created_once BEFORE UPDATE OF created_at ON wallets_wallet FOR EACH ROW
    WHEN (OLD.created_at <> NEW.created_at)
    EXECUTE FUNCTION coppice_refuse('a wallet is created once');
