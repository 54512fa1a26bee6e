CREATE TRIGGER trust_parties_fixed BEFORE UPDATE ON trusts_trust FOR EACH ROW
    WHEN ((OLD.id, OLD.number, OLD.actor_id, OLD.target_id, OLD.originator_id, OLD.type, OLD.request_type,
           OLD.created_at)
        IS DISTINCT FROM
          (NEW.id, NEW.number, NEW.actor_id, NEW.target_id, NEW.originator_id, NEW.type, NEW.request_type,
           NEW.created_at))
    EXECUTE FUNCTION coppice_refuse('only the state of a trust changes');
