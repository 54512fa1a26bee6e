CREATE TRIGGER statementline_append_only BEFORE UPDATE OR DELETE ON lockers_statementline
    FOR EACH ROW EXECUTE FUNCTION coppice_refuse('lines are only appended');
