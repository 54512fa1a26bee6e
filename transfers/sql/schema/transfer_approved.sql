-- No token moves before the approval. A transfer that needs none pays for the condition alone.
CREATE TRIGGER transfer_approved BEFORE INSERT OR UPDATE ON transfers_transfer FOR EACH ROW
    WHEN (NEW.approval_of IS NOT NULL AND (NEW.state = 'completed' AND NEW.approved_at IS NULL
          OR NEW.approval_asked_by_id IS NULL OR (NEW.approved_at IS NULL) <> (NEW.approved_by_id IS NULL)
          OR NEW.approval_asked_with = NEW.approved_with))
    EXECUTE FUNCTION coppice_refuse('a transfer that needs an approval completes after another credential gave it');
