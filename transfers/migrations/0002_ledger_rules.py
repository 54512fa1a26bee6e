"""What Django cannot say: sequences, the key behind a reservation, and what may never change."""

from django.db import migrations

FORWARDS = """
CREATE SEQUENCE transfers_arrival OWNED BY transfers_movement.id;

-- Completed means that as many tokens moved as were asked, and anything else that none did. The ledger
-- takes both counts from the rows that it changed. An unknown state fits nowhere.
ALTER TABLE transfers_transfer ADD CONSTRAINT transfer_all_or_nothing CHECK (
    reserved_count = CASE state WHEN 'pending' THEN token_count ELSE 0 END
    AND moved_count = CASE state WHEN 'completed' THEN token_count ELSE 0 END);
ALTER TABLE transfers_transfer ADD CONSTRAINT transfer_closed_when_decided CHECK (
    CASE state WHEN 'completed' THEN closed_at IS NOT NULL
               WHEN 'pending' THEN closed_at IS NULL
               WHEN 'requested' THEN closed_at IS NULL
               WHEN 'cancelled' THEN closed_at IS NOT NULL
               WHEN 'failed' THEN closed_at IS NOT NULL
               ELSE false END);
ALTER TABLE transfers_movement ADD CONSTRAINT movement_issue_or_transfer CHECK (
    number >= 0 AND (number = 0) = (transfer_number IS NULL) AND (number = 0) = (source_id IS NULL));

-- Null on the hot path, so it is checked for pending transfers alone.
ALTER TABLE wallets_token ADD CONSTRAINT token_reserved_by_a_transfer
    FOREIGN KEY (transfer_pending_id) REFERENCES transfers_transfer (id);

CREATE TRIGGER movement_append_only BEFORE UPDATE OR DELETE ON transfers_movement
    FOR EACH ROW EXECUTE FUNCTION coppice_refuse('history is only appended');

CREATE TRIGGER transfer_kept BEFORE DELETE ON transfers_transfer
    FOR EACH ROW EXECUTE FUNCTION coppice_refuse('a transfer is closed, never deleted');
CREATE TRIGGER transfer_terminal BEFORE UPDATE ON transfers_transfer FOR EACH ROW
    WHEN (OLD.state NOT IN ('requested', 'pending') OR NEW.state NOT IN ('completed', 'cancelled', 'failed'))
    EXECUTE FUNCTION coppice_refuse('an open transfer is closed once, a closed one never changes');
CREATE TRIGGER transfer_terms_fixed BEFORE UPDATE ON transfers_transfer FOR EACH ROW
    WHEN ((OLD.id, OLD.number, OLD.originator_id, OLD.source_id, OLD.destination_id, OLD.token_count, OLD.created_at)
        IS DISTINCT FROM
          (NEW.id, NEW.number, NEW.originator_id, NEW.source_id, NEW.destination_id, NEW.token_count, NEW.created_at)
        OR OLD.parameters IS DISTINCT FROM NEW.parameters)
    EXECUTE FUNCTION coppice_refuse('the terms of a transfer are fixed');

CREATE TRIGGER token_kept BEFORE DELETE ON wallets_token
    FOR EACH ROW EXECUTE FUNCTION coppice_refuse('history names tokens for ever');
CREATE TRIGGER token_identity_fixed BEFORE UPDATE ON wallets_token FOR EACH ROW
    WHEN (OLD.id <> NEW.id OR OLD.capture_id <> NEW.capture_id OR OLD.lot <> NEW.lot
        OR OLD.created_at <> NEW.created_at)
    EXECUTE FUNCTION coppice_refuse('what a token stands for is fixed');
CREATE TRIGGER token_moves_with_history BEFORE UPDATE ON wallets_token FOR EACH ROW
    WHEN ((OLD.wallet_id <> NEW.wallet_id AND (NEW.moves <> OLD.moves + 1 OR NEW.arrival <= OLD.arrival))
        OR (OLD.wallet_id = NEW.wallet_id AND (NEW.moves <> OLD.moves OR NEW.arrival <> OLD.arrival)))
    EXECUTE FUNCTION coppice_refuse('a token moves together with its history');
"""

BACKWARDS = """
DROP TRIGGER token_moves_with_history ON wallets_token;
DROP TRIGGER token_identity_fixed ON wallets_token;
DROP TRIGGER token_kept ON wallets_token;
DROP TRIGGER transfer_terms_fixed ON transfers_transfer;
DROP TRIGGER transfer_terminal ON transfers_transfer;
DROP TRIGGER transfer_kept ON transfers_transfer;
DROP TRIGGER movement_append_only ON transfers_movement;
ALTER TABLE wallets_token DROP CONSTRAINT token_reserved_by_a_transfer;
ALTER TABLE transfers_movement DROP CONSTRAINT movement_issue_or_transfer;
ALTER TABLE transfers_transfer DROP CONSTRAINT transfer_closed_when_decided;
ALTER TABLE transfers_transfer DROP CONSTRAINT transfer_all_or_nothing;
DROP SEQUENCE transfers_arrival;
"""


class Migration(migrations.Migration):
    dependencies = [
        ("transfers", "0001_initial"),
        ("trusts", "0002_numbers_and_triggers"),
        ("wallets", "0002_event_number"),
    ]

    operations = [migrations.RunSQL(FORWARDS, BACKWARDS)]
