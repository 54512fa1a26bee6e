"""
The rules of the ledger's rows, said by functions.

Decided 2026-11-22, against CHECK constraints and conditions of triggers: PostgreSQL keeps these as text, and parses the
text anew in every statement that writes to the table. That was a fifth of what a transfer costs it
(tests/benchmarks/README.md). What a function says is parsed once for each connection. Given up: a restored backup is not
checked row by row while it is loaded; the audit at its end finds the same.
"""

from django.db import migrations

FORWARDS = """
ALTER TABLE transfers_transfer DROP CONSTRAINT transfer_all_or_nothing;
ALTER TABLE transfers_transfer DROP CONSTRAINT transfer_closed_when_decided;
ALTER TABLE transfers_movement DROP CONSTRAINT movement_issue_or_transfer;
DROP TRIGGER token_moves_with_history ON wallets_token;
DROP TRIGGER token_identity_fixed ON wallets_token;

-- Completed means that as many tokens moved as were asked, and anything else that none did. The ledger
-- takes both counts from the rows that it changed. An unknown state fits nowhere. An empty list is
-- accepted and moves nothing (the Treetracker contract, row 10).
CREATE FUNCTION transfers_check_transfer() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    IF (NEW.source_id <> NEW.destination_id
        AND (NEW.token_count > 0 OR NEW.token_count = 0 AND NEW.parameters = '{"tokens": []}')
        AND CASE NEW.state
                WHEN 'completed' THEN
                    NEW.moved_count = NEW.token_count AND NEW.reserved_count = 0 AND NEW.closed_at IS NOT NULL
                WHEN 'pending' THEN
                    NEW.moved_count = 0 AND NEW.reserved_count = NEW.token_count AND NEW.closed_at IS NULL
                WHEN 'requested' THEN
                    NEW.moved_count = 0 AND NEW.reserved_count = 0 AND NEW.closed_at IS NULL
                WHEN 'cancelled' THEN
                    NEW.moved_count = 0 AND NEW.reserved_count = 0 AND NEW.closed_at IS NOT NULL
                WHEN 'failed' THEN
                    NEW.moved_count = 0 AND NEW.reserved_count = 0 AND NEW.closed_at IS NOT NULL
                ELSE false END)
    THEN
        RETURN NEW;
    END IF;
    RAISE EXCEPTION 'a transfer lies between two wallets, moves what was asked or nothing, and is closed when decided'
        USING ERRCODE = 'check_violation';
END $$;
CREATE TRIGGER transfer_all_or_nothing BEFORE INSERT OR UPDATE ON transfers_transfer
    FOR EACH ROW EXECUTE FUNCTION transfers_check_transfer();

CREATE FUNCTION transfers_check_movement() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    IF (NEW.number >= 0 AND (NEW.number = 0) = (NEW.transfer_number IS NULL)
        AND (NEW.number = 0) = (NEW.source_id IS NULL))
    THEN
        RETURN NEW;
    END IF;
    RAISE EXCEPTION 'a movement is an issue, or belongs to a transfer out of a wallet' USING ERRCODE = 'check_violation';
END $$;
CREATE TRIGGER movement_issue_or_transfer BEFORE INSERT ON transfers_movement
    FOR EACH ROW EXECUTE FUNCTION transfers_check_movement();

-- Each move has the next number and a later arrival, and nothing else has.
CREATE FUNCTION transfers_check_token() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    IF (CASE NEW.wallet_id WHEN OLD.wallet_id THEN NEW.moves = OLD.moves AND NEW.arrival = OLD.arrival
                           ELSE NEW.moves = OLD.moves + 1 AND NEW.arrival > OLD.arrival END)
    THEN
        RETURN NEW;
    END IF;
    RAISE EXCEPTION 'a token moves together with its history' USING ERRCODE = 'check_violation';
END $$;
CREATE TRIGGER token_moves_with_history BEFORE UPDATE ON wallets_token
    FOR EACH ROW EXECUTE FUNCTION transfers_check_token();
-- Looked at only by a statement that names one of these columns, which the ledger never does.
CREATE TRIGGER token_identity_fixed BEFORE UPDATE OF id, capture_id, lot, created_at ON wallets_token FOR EACH ROW
    WHEN (OLD.id <> NEW.id OR OLD.capture_id <> NEW.capture_id OR OLD.lot <> NEW.lot
        OR OLD.created_at <> NEW.created_at)
    EXECUTE FUNCTION coppice_refuse('what a token stands for is fixed');
"""

BACKWARDS = """
DROP TRIGGER token_identity_fixed ON wallets_token;
DROP TRIGGER token_moves_with_history ON wallets_token;
DROP FUNCTION transfers_check_token();
DROP TRIGGER movement_issue_or_transfer ON transfers_movement;
DROP FUNCTION transfers_check_movement();
DROP TRIGGER transfer_all_or_nothing ON transfers_transfer;
DROP FUNCTION transfers_check_transfer();

CREATE TRIGGER token_identity_fixed BEFORE UPDATE ON wallets_token FOR EACH ROW
    WHEN (OLD.id <> NEW.id OR OLD.capture_id <> NEW.capture_id OR OLD.lot <> NEW.lot
        OR OLD.created_at <> NEW.created_at)
    EXECUTE FUNCTION coppice_refuse('what a token stands for is fixed');
CREATE TRIGGER token_moves_with_history BEFORE UPDATE ON wallets_token FOR EACH ROW
    WHEN ((OLD.wallet_id <> NEW.wallet_id AND (NEW.moves <> OLD.moves + 1 OR NEW.arrival <= OLD.arrival))
        OR (OLD.wallet_id = NEW.wallet_id AND (NEW.moves <> OLD.moves OR NEW.arrival <> OLD.arrival)))
    EXECUTE FUNCTION coppice_refuse('a token moves together with its history');
ALTER TABLE transfers_movement ADD CONSTRAINT movement_issue_or_transfer CHECK (
    number >= 0 AND (number = 0) = (transfer_number IS NULL) AND (number = 0) = (source_id IS NULL));
ALTER TABLE transfers_transfer ADD CONSTRAINT transfer_closed_when_decided CHECK (
    CASE state WHEN 'completed' THEN closed_at IS NOT NULL
               WHEN 'pending' THEN closed_at IS NULL
               WHEN 'requested' THEN closed_at IS NULL
               WHEN 'cancelled' THEN closed_at IS NOT NULL
               WHEN 'failed' THEN closed_at IS NOT NULL
               ELSE false END);
ALTER TABLE transfers_transfer ADD CONSTRAINT transfer_all_or_nothing CHECK (
    reserved_count = CASE state WHEN 'pending' THEN token_count ELSE 0 END
    AND moved_count = CASE state WHEN 'completed' THEN token_count ELSE 0 END);
"""


class Migration(migrations.Migration):
    dependencies = [("transfers", "0004_day_tallies_and_issues"), ("wallets", "0007_answers_lock_no_wallet")]

    operations = [
        migrations.RemoveConstraint("transfer", "transfer_between_two_wallets"),
        migrations.RemoveConstraint("transfer", "transfer_asks_for_tokens"),
        migrations.RunSQL(FORWARDS, BACKWARDS),
    ]
