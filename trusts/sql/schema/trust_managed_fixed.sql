CREATE TRIGGER trust_managed_fixed BEFORE UPDATE OF managed_created_at ON trusts_trust FOR EACH ROW
    WHEN (OLD.managed_created_at IS DISTINCT FROM NEW.managed_created_at)
    EXECUTE FUNCTION coppice_refuse('only the state of a trust changes');
