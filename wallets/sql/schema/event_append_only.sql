CREATE TRIGGER event_append_only BEFORE UPDATE OR DELETE ON wallets_event
    FOR EACH ROW EXECUTE FUNCTION coppice_refuse('events are only appended');
