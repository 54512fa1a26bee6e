CREATE TRIGGER account_kept BEFORE DELETE ON lockers_account
    FOR EACH ROW EXECUTE FUNCTION coppice_refuse('an account stays with its lines');
