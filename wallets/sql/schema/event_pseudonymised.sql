-- Only `config.ops.pseudonyms` rewrites payloads: the name of a wallet that was closed.
CREATE TRIGGER event_pseudonymised BEFORE UPDATE ON wallets_event FOR EACH ROW
    WHEN (current_setting('coppice.pseudonymises', true) IS DISTINCT FROM 'on')
    EXECUTE FUNCTION coppice_refuse('events are only appended');
