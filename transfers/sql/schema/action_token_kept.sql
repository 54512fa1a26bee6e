CREATE TRIGGER action_token_kept BEFORE DELETE ON transfers_actiontoken
    FOR EACH ROW EXECUTE FUNCTION coppice_refuse('a claim link is closed, never deleted');
