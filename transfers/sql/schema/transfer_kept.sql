CREATE TRIGGER transfer_kept BEFORE DELETE ON transfers_transfer
    FOR EACH ROW EXECUTE FUNCTION coppice_refuse('a transfer is closed, never deleted');
