CREATE TRIGGER trust_knows_the_managed BEFORE INSERT ON trusts_trust
    FOR EACH ROW EXECUTE FUNCTION trusts_know_the_managed();
