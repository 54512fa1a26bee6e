CREATE TRIGGER trustchange_append_only BEFORE UPDATE OR DELETE ON trusts_trustchange
    FOR EACH ROW EXECUTE FUNCTION coppice_refuse('changes are only appended');
