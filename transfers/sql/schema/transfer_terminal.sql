CREATE TRIGGER transfer_terminal BEFORE UPDATE ON transfers_transfer FOR EACH ROW
    WHEN (OLD.state NOT IN ('requested', 'pending') OR NEW.state NOT IN ('completed', 'cancelled', 'failed'))
    EXECUTE FUNCTION coppice_refuse('an open transfer is closed once, a closed one never changes');
