-- What awaits an approval is decided when the transfer is made, or when a requested one is fulfilled; the approval is
-- given once. Neither is changed by what closes the transfer.
CREATE TRIGGER transfer_approval_fixed BEFORE UPDATE ON transfers_transfer FOR EACH ROW
    WHEN ((OLD.approval_of, OLD.approval_asked_by_id, OLD.approval_asked_with)
            IS DISTINCT FROM (NEW.approval_of, NEW.approval_asked_by_id, NEW.approval_asked_with)
          AND (OLD.state = 'requested' AND NEW.state = 'pending' AND OLD.approval_of IS NULL
               AND NEW.approval_of = 'fulfill') IS NOT TRUE
       OR (OLD.approved_at, OLD.approved_by_id, OLD.approved_with)
            IS DISTINCT FROM (NEW.approved_at, NEW.approved_by_id, NEW.approved_with)
          AND (OLD.state = 'pending' AND NEW.state = 'pending' AND OLD.approval_of IS NOT NULL
               AND OLD.approved_at IS NULL) IS NOT TRUE)
    EXECUTE FUNCTION coppice_refuse('what awaits an approval is fixed, and is approved once');
