"""
The order of arrivals, the foreign key of a reservation, and what the rows of the ledger may hold.

Decided 2026-11-22, against CHECK constraints and conditions of triggers: PostgreSQL stores these as text, and parses it
in every statement that writes to the table, which was a fifth of the database's CPU time for a transfer
(tests/benchmarks/README.md). It parses a function once per connection. The cost: a restored backup is not checked
row by row while it is loaded; the audit at its end checks the same rules.
"""

from django.db import migrations

from wallets.sql_files import create_object


class Migration(migrations.Migration):
    dependencies = [("transfers", "0001_initial"), ("wallets", "0002_schema_objects")]

    operations = [
        create_object("transfers", "transfers_arrival", drop="DROP SEQUENCE transfers_arrival"),
        create_object(
            "transfers",
            "token_reserved_by_a_transfer",
            drop="ALTER TABLE wallets_token DROP CONSTRAINT token_reserved_by_a_transfer",
        ),
        create_object("transfers", "transfers_check_transfer", drop="DROP FUNCTION transfers_check_transfer()"),
        create_object(
            "transfers", "transfer_all_or_nothing", drop="DROP TRIGGER transfer_all_or_nothing ON transfers_transfer"
        ),
        create_object("transfers", "transfer_terminal", drop="DROP TRIGGER transfer_terminal ON transfers_transfer"),
        create_object(
            "transfers", "transfer_terms_fixed", drop="DROP TRIGGER transfer_terms_fixed ON transfers_transfer"
        ),
        create_object("transfers", "transfer_kept", drop="DROP TRIGGER transfer_kept ON transfers_transfer"),
        create_object("transfers", "transfers_check_movement", drop="DROP FUNCTION transfers_check_movement()"),
        create_object(
            "transfers",
            "movement_issue_or_transfer",
            drop="DROP TRIGGER movement_issue_or_transfer ON transfers_movement",
        ),
        create_object(
            "transfers", "movement_append_only", drop="DROP TRIGGER movement_append_only ON transfers_movement"
        ),
        create_object("transfers", "transfers_check_token", drop="DROP FUNCTION transfers_check_token()"),
        create_object(
            "transfers", "token_moves_with_history", drop="DROP TRIGGER token_moves_with_history ON wallets_token"
        ),
        create_object("transfers", "token_identity_fixed", drop="DROP TRIGGER token_identity_fixed ON wallets_token"),
        create_object("transfers", "token_kept", drop="DROP TRIGGER token_kept ON wallets_token"),
        create_object("transfers", "issue_append_only", drop="DROP TRIGGER issue_append_only ON transfers_issue"),
    ]
