-- The trigger receiptline_append_only keeps the other columns.
CREATE TRIGGER receiptline_settled_once BEFORE UPDATE ON lockers_receiptline
    FOR EACH ROW WHEN (OLD.settled_by_id IS NOT NULL
        AND (OLD.settled_by_id, OLD.became) IS DISTINCT FROM (NEW.settled_by_id, NEW.became))
    EXECUTE FUNCTION coppice_refuse('what settled a coin is never altered');
