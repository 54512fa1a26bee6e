-- A pending transfer stays pending when its own side approves it, and a requested one becomes pending when its
-- fulfilment awaits an approval; `transfer_approval_fixed` says what changes then.
CREATE OR REPLACE TRIGGER transfer_terminal BEFORE UPDATE ON transfers_transfer FOR EACH ROW
    WHEN (OLD.state NOT IN ('requested', 'pending') OR NEW.state NOT IN ('completed', 'cancelled', 'failed')
          AND (NEW.state = 'pending'
               AND (OLD.state = 'requested' AND NEW.approval_of = 'fulfill'
                    OR OLD.state = 'pending' AND OLD.approved_at IS NULL AND NEW.approved_at IS NOT NULL)) IS NOT TRUE)
    EXECUTE FUNCTION coppice_refuse('an open transfer is closed once, a closed one never changes');
