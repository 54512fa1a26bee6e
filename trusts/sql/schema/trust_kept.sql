CREATE TRIGGER trust_kept BEFORE DELETE ON trusts_trust
    FOR EACH ROW EXECUTE FUNCTION coppice_refuse('a trust is cancelled, never deleted');
