CREATE TRIGGER trust_power_filled BEFORE INSERT ON trusts_trust
    FOR EACH ROW EXECUTE FUNCTION trusts_fill_power();
