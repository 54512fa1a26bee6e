"""
Events in partitions by time, for installations that do not keep all of them.

No row is read or copied: the table becomes the default partition, and a new one takes its name. Without
`COPPICE_EVENT_DAYS` there is no other partition.
"""

from typing import Any

import django.db.models.deletion
from django.db import migrations, models
from django.db.migrations.operations.base import Operation

from wallets.sql_files import load

_TABLE = "wallets_event"
# Every statement is these and constants.
_PART = f"{_TABLE}_default"
_INDEX = "event_by_wallet"
_TRIGGERS = ("event_append_only", "event_pseudonymised")


class PartitionByTime(Operation):
    """Make the table the default partition of a table that is partitioned by the time of events."""

    reversible = True
    reduces_to_sql = True

    def describe(self) -> str:
        return "Partition events by time"

    def state_forwards(self, app_label: str, state: Any) -> None:
        """The state changes by other operations."""

    def database_forwards(self, app_label: str, schema_editor: Any, from_state: Any, to_state: Any) -> None:
        with schema_editor.connection.cursor() as cursor:
            # Transfers wait behind this lock. If another session uses the table for long, the migration can run again.
            cursor.execute("SET LOCAL lock_timeout = '5s'")
            cursor.execute(f"LOCK TABLE {_TABLE} IN ACCESS EXCLUSIVE MODE")
            _drop_keys(cursor)
            cursor.execute("SELECT indexrelid::regclass::text FROM pg_index WHERE indrelid = %s::regclass", [_TABLE])
            for (index,) in cursor.fetchall():
                cursor.execute(f"ALTER INDEX {index} RENAME TO {index[:55]}_default")
            for statement in (
                *(f"DROP TRIGGER {trigger} ON {_TABLE}" for trigger in _TRIGGERS),
                f"ALTER TABLE {_TABLE} RENAME TO {_PART}",
                f"CREATE TABLE {_TABLE} (LIKE {_PART} INCLUDING DEFAULTS) PARTITION BY RANGE (created_at)",
                f"CREATE INDEX {_INDEX} ON {_TABLE} (wallet_id, number)",
                f"ALTER SEQUENCE wallets_event_number OWNED BY {_TABLE}.number",
                f"ALTER TABLE {_TABLE} ATTACH PARTITION {_PART} DEFAULT",
                *_create_triggers(),
            ):
                cursor.execute(statement)

    def database_backwards(self, app_label: str, schema_editor: Any, from_state: Any, to_state: Any) -> None:
        with schema_editor.connection.cursor() as cursor:
            cursor.execute("SET LOCAL statement_timeout = 0")
            for statement in (
                f"CREATE TABLE {_TABLE}_all (LIKE {_TABLE} INCLUDING DEFAULTS)",
                f"INSERT INTO {_TABLE}_all SELECT * FROM {_TABLE}",  # noqa: S608 - constants
                f"ALTER SEQUENCE wallets_event_number OWNED BY {_TABLE}_all.number",
                f"DROP TABLE {_TABLE}",
                f"ALTER TABLE {_TABLE}_all RENAME TO {_TABLE}",
                f"ALTER TABLE {_TABLE} ADD PRIMARY KEY (id), ADD UNIQUE (number),"
                " ADD FOREIGN KEY (wallet_id) REFERENCES wallets_wallet DEFERRABLE INITIALLY DEFERRED",
                f"CREATE INDEX {_INDEX} ON {_TABLE} (wallet_id, number)",
                *_create_triggers(),
            ):
                cursor.execute(statement)


def _drop_keys(cursor: Any) -> None:
    cursor.execute("SELECT conname FROM pg_constraint WHERE conrelid = %s::regclass AND contype = 'f'", [_TABLE])
    for (key,) in cursor.fetchall():
        cursor.execute(f"ALTER TABLE {_TABLE} DROP CONSTRAINT {key}")


def _create_triggers() -> list[str]:
    return [load("wallets", "schema/event_append_only__2"), load("wallets", "schema/event_pseudonymised")]


class Migration(migrations.Migration):
    dependencies = [("wallets", "0020_audit_scope")]

    operations = [
        migrations.AddField("EventPosition", "kept_from", models.BigIntegerField(db_default=0, default=0)),
        migrations.AddField("EventPosition", "kept_from_at", models.DateTimeField(null=True)),
        migrations.SeparateDatabaseAndState(
            database_operations=[PartitionByTime()],
            state_operations=[
                migrations.AlterField(
                    "Event",
                    "wallet",
                    models.ForeignKey(
                        db_constraint=False,
                        db_index=False,
                        on_delete=django.db.models.deletion.PROTECT,
                        related_name="+",
                        to="wallets.wallet",
                    ),
                ),
            ],
        ),
    ]
