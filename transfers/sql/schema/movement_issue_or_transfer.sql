CREATE TRIGGER movement_issue_or_transfer BEFORE INSERT ON transfers_movement
    FOR EACH ROW EXECUTE FUNCTION transfers_check_movement();
