CREATE TRIGGER transfer_all_or_nothing BEFORE INSERT OR UPDATE ON transfers_transfer
    FOR EACH ROW EXECUTE FUNCTION transfers_check_transfer();
