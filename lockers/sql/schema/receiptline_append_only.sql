-- The coin and its state never change. A server's letter may change as long as it is not p (passed): an answer may come
-- after the task ended, and a server that stored a coin never takes that back.
CREATE TRIGGER receiptline_append_only BEFORE UPDATE ON lockers_receiptline
    FOR EACH ROW WHEN (
        (OLD.id, OLD.task_id, OLD.denomination, OLD.serial_number, OLD.state)
            IS DISTINCT FROM (NEW.id, NEW.task_id, NEW.denomination, NEW.serial_number, NEW.state)
        OR NEW.pown !~ ('^' || regexp_replace(OLD.pown, '[^p]', '.', 'g') || '$'))
    EXECUTE FUNCTION coppice_refuse('of a receipt only letters of servers change that had not stored the coin');
