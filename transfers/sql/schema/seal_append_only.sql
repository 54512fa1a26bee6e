CREATE TRIGGER seal_append_only BEFORE UPDATE OR DELETE ON transfers_seal
    FOR EACH ROW EXECUTE FUNCTION coppice_refuse('transfers_seal is append-only');
