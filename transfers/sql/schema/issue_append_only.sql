CREATE TRIGGER issue_append_only BEFORE UPDATE OR DELETE ON transfers_issue
    FOR EACH ROW EXECUTE FUNCTION coppice_refuse('transfers_issue is append-only');
