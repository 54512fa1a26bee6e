CREATE TRIGGER movement_append_only BEFORE UPDATE OR DELETE ON transfers_movement
    FOR EACH ROW EXECUTE FUNCTION coppice_refuse('transfers_movement is append-only');
