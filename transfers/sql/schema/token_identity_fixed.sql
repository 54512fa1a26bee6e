-- OF: PostgreSQL evaluates it only for a statement that names one of these columns, which the ledger never does.
CREATE TRIGGER token_identity_fixed BEFORE UPDATE OF id, capture_id, lot, created_at ON wallets_token FOR EACH ROW
    WHEN (OLD.id <> NEW.id OR OLD.capture_id <> NEW.capture_id OR OLD.lot <> NEW.lot
        OR OLD.created_at <> NEW.created_at)
    EXECUTE FUNCTION coppice_refuse('id, capture_id, lot and created_at of a token cannot change');
