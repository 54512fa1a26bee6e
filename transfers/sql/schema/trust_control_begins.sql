CREATE TRIGGER trust_control_begins AFTER INSERT ON trusts_trust
    FOR EACH ROW WHEN (NEW.type = 'manage' AND NEW.state = 'trusted') EXECUTE FUNCTION transfers_note_control();
