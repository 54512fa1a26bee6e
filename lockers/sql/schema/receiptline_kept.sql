CREATE TRIGGER receiptline_kept BEFORE DELETE ON lockers_receiptline
    FOR EACH ROW EXECUTE FUNCTION coppice_refuse('receipts are only appended');
