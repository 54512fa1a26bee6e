CREATE TRIGGER terms_append_only BEFORE UPDATE OR DELETE ON transfers_transferterms
    FOR EACH ROW EXECUTE FUNCTION coppice_refuse('transfers_transferterms is append-only');
