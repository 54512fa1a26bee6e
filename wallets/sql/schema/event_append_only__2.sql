-- The payload is rewritten for one purpose: `event_pseudonymised`.
CREATE OR REPLACE TRIGGER event_append_only
    BEFORE DELETE OR UPDATE OF id, number, wallet_id, type, created_at ON wallets_event
    FOR EACH ROW EXECUTE FUNCTION coppice_refuse('events are only appended');
