CREATE TRIGGER trust_power_fixed BEFORE UPDATE OF holder_id, subject_id, managed_created_at ON trusts_trust FOR EACH ROW
    WHEN ((OLD.holder_id, OLD.subject_id, OLD.managed_created_at)
        IS DISTINCT FROM (NEW.holder_id, NEW.subject_id, NEW.managed_created_at))
    EXECUTE FUNCTION coppice_refuse('only the state of a trust changes');
