CREATE TRIGGER trust_control_changes AFTER UPDATE OF state ON trusts_trust FOR EACH ROW
    WHEN (NEW.type = 'manage' AND (OLD.state = 'trusted') <> (NEW.state = 'trusted'))
    EXECUTE FUNCTION transfers_note_control();
