CREATE TRIGGER action_token_closed_once BEFORE UPDATE ON transfers_actiontoken FOR EACH ROW
    WHEN (OLD.state <> 'active' OR NEW.state = 'active'
          OR (OLD.id, OLD.digest, OLD.originator_id, OLD.sender_id, OLD.token_count, OLD.recipient_email,
              OLD.email_must_match, OLD.message, OLD.created_at, OLD.expires_at)
             IS DISTINCT FROM
             (NEW.id, NEW.digest, NEW.originator_id, NEW.sender_id, NEW.token_count, NEW.recipient_email,
              NEW.email_must_match, NEW.message, NEW.created_at, NEW.expires_at))
    EXECUTE FUNCTION coppice_refuse('an active claim link is closed once, and nothing else of a link changes');
