"""
Messages and deliveries of webhooks in partitions by week.

No row is copied: each table becomes the partition of this week, with all rows that it has, and a new one takes its
name. Rows can be written meanwhile, except while the names are changed. If it is interrupted at any step, the migration
can be run again from the beginning.
"""

import datetime
from typing import Any, NamedTuple

import django.db.models.deletion
from django.db import migrations, models, transaction
from django.db.migrations.operations.base import Operation
from django.db.models.functions import Now

_MONDAY = "date_trunc('week', statement_timestamp() AT TIME ZONE 'UTC')::date"
_BEFORE = "created_before"
# Every statement is these and constants.
_MESSAGE, _DELIVERY = "webhooks_webhookmessage", "webhooks_webhookdelivery"
_TO_WEBHOOK = "FOREIGN KEY (webhook_id) REFERENCES webhooks_webhook DEFERRABLE INITIALLY DEFERRED"
_TO_MESSAGE = f"FOREIGN KEY (message_id) REFERENCES {_MESSAGE} DEFERRABLE INITIALLY DEFERRED"
_ONCE = "delivery_of_a_message_is_one"


class _Table(NamedTuple):
    """A table, the prefixes of the names of unique indexes of partitions, its foreign keys, and its indexes."""

    name: str
    unique: tuple[tuple[str, str], ...]
    foreign_keys: tuple[str, ...]
    indexes: tuple[tuple[str, str], ...]


_TABLES = (
    _Table(_MESSAGE, (("webhooks_message_id", "id"),), (), ()),
    _Table(
        _DELIVERY,
        (("webhooks_delivery_id", "id"), (_ONCE, "webhook_id, message_id")),
        (_TO_WEBHOOK,),
        (
            ("delivery_of_message", "(message_id)"),
            ("delivery_pending", "(webhook_id, due_at) WHERE state = 'pending'"),
            ("delivery_leased", "(webhook_id) WHERE lease_until IS NOT NULL"),
            ("delivery_of_webhook", "(webhook_id, created_at DESC, id DESC)"),
            ("delivery_newest", "(created_at DESC, id DESC)"),
        ),
    ),
)


class PartitionByWeek(Operation):
    """Make both tables the partitions of this week, of tables that are partitioned by week."""

    reversible = True
    reduces_to_sql = True

    def describe(self) -> str:
        return "Partition messages and deliveries of webhooks by week"

    def state_forwards(self, app_label: str, state: Any) -> None:
        """The state changes by other operations."""

    def database_forwards(self, app_label: str, schema_editor: Any, from_state: Any, to_state: Any) -> None:
        is_done = False
        with schema_editor.connection.cursor() as cursor:
            while not is_done:
                week = _mark(cursor)
                for table in _TABLES:
                    # In a transaction: a pooler lends the session to others after it.
                    with transaction.atomic():
                        cursor.execute("SET LOCAL statement_timeout = 0")
                        # Reads all rows; others read and write meanwhile. With this proof, attaching reads none.
                        cursor.execute(f"ALTER TABLE {table.name} VALIDATE CONSTRAINT {_BEFORE}")
                is_done = _exchange(cursor, week)

    def database_backwards(self, app_label: str, schema_editor: Any, from_state: Any, to_state: Any) -> None:
        with transaction.atomic(), schema_editor.connection.cursor() as cursor:
            cursor.execute("SET LOCAL statement_timeout = 0")
            for table in _TABLES:
                name, plain = table.name, f"{table.name}_all"
                # A message may leave an hour before the delivery of a test.
                has_message = f" WHERE message_id IN (SELECT id FROM {_MESSAGE})" if table.foreign_keys else ""  # noqa: S608
                cursor.execute(f"CREATE TABLE {plain} (LIKE {name} INCLUDING DEFAULTS INCLUDING CONSTRAINTS)")
                cursor.execute(f"INSERT INTO {plain} SELECT * FROM {name}{has_message}")  # noqa: S608 - constants
                cursor.execute(f"DROP TABLE {name}")
                cursor.execute(f"ALTER TABLE {plain} RENAME TO {name}")
                cursor.execute(f"ALTER TABLE {name} ADD PRIMARY KEY (id)")
                for index, columns in table.indexes:
                    cursor.execute(f"CREATE INDEX {index} ON {name} {columns}")
            cursor.execute(f"CREATE INDEX {_MESSAGE}_created_at ON {_MESSAGE} (created_at)")
            cursor.execute(f"ALTER TABLE {_DELIVERY} ADD CONSTRAINT {_ONCE} UNIQUE (webhook_id, message_id)")
            for foreign_key in (_TO_WEBHOOK, _TO_MESSAGE):
                cursor.execute(f"ALTER TABLE {_DELIVERY} ADD {foreign_key}")


def _mark(cursor: Any) -> datetime.date:
    """Require that all rows, also those that are written from now on, are of this week or earlier. Takes a moment."""
    with transaction.atomic():
        cursor.execute(f"SELECT {_MONDAY}")
        week: datetime.date = cursor.fetchone()[0]
        for table in _TABLES:
            end = _end(week)
            # The clock was set back since they were written.
            cursor.execute(
                f"UPDATE {table.name} SET created_at = statement_timestamp() WHERE created_at >= {end}"  # noqa: S608
            )
            # Deferred checks of the rows that were changed.
            cursor.execute("SET CONSTRAINTS ALL IMMEDIATE")
            # That of an attempt that was interrupted.
            cursor.execute(f"ALTER TABLE {table.name} DROP CONSTRAINT IF EXISTS {_BEFORE}")
            cursor.execute(f"ALTER TABLE {table.name} ADD CONSTRAINT {_BEFORE} CHECK (created_at < {end}) NOT VALID")
    return week


def _start(week: datetime.date) -> str:
    return f"timestamptz '{week} 00:00+00'"


def _end(week: datetime.date) -> str:
    return _start(week + datetime.timedelta(days=7))


def _exchange(cursor: Any, week: datetime.date) -> bool:
    """Put partitioned tables in the place of both. False, with no effect: another week has begun."""
    with transaction.atomic():
        # Requests wait behind this lock. If another session uses a table for longer, the migration can run again.
        cursor.execute("SET LOCAL lock_timeout = '5s'")
        cursor.execute(f"LOCK TABLE webhooks_webhook, {_MESSAGE}, {_DELIVERY} IN ACCESS EXCLUSIVE MODE")
        cursor.execute(f"SELECT {_MONDAY}")
        if cursor.fetchone()[0] != week:
            return False
        # A partitioned table cannot be referred to by its id.
        cursor.execute(
            "SELECT conname FROM pg_constraint WHERE conrelid = %s::regclass AND confrelid = %s::regclass",
            [_DELIVERY, _MESSAGE],
        )
        for (key,) in cursor.fetchall():
            cursor.execute(f"ALTER TABLE {_DELIVERY} DROP CONSTRAINT {key}")
        for table in _TABLES:
            _partition(cursor, table, week)
    return True


def _partition(cursor: Any, table: _Table, week: datetime.date) -> None:
    name, part, suffix = table.name, f"{table.name}_{week:%Y%m%d}", f"{week:%Y%m%d}"
    end = week + datetime.timedelta(days=7)
    cursor.execute(f"SELECT EXISTS (SELECT FROM {name} WHERE created_at < {_start(week)})")  # noqa: S608 - constants
    lowest = "MINVALUE" if cursor.fetchone()[0] else f"'{week} 00:00+00'"
    cursor.execute(f"ALTER TABLE {name} RENAME TO {part}")
    # Their names are those of the partitioned table from now on. Equal ones are attached to them, and none is built.
    cursor.execute(
        "SELECT indexrelid::regclass::text, pg_get_indexdef(indexrelid), indisunique FROM pg_index"
        " WHERE indrelid = %s::regclass",
        [part],
    )
    for index, definition, is_unique in cursor.fetchall():
        if not is_unique and definition.endswith("(created_at)"):
            cursor.execute(f"DROP INDEX {index}")
        else:
            cursor.execute(f"ALTER INDEX {index} RENAME TO {index[:54]}_{suffix}")
    for statement in (
        f"CREATE TABLE {name} (LIKE {part} INCLUDING DEFAULTS INCLUDING CONSTRAINTS) PARTITION BY RANGE (created_at)",
        *(f"ALTER TABLE {name} ADD {foreign_key}" for foreign_key in table.foreign_keys),
        *(f"CREATE INDEX {index} ON {name} {columns}" for index, columns in table.indexes),
        f"ALTER TABLE {name} ATTACH PARTITION {part} FOR VALUES FROM ({lowest}) TO ('{end} 00:00+00')",
        f"ALTER TABLE {name} DROP CONSTRAINT {_BEFORE}",
        f"CREATE TABLE {name}_default PARTITION OF {name} DEFAULT",
        *(f"CREATE UNIQUE INDEX {prefix}_default ON {name}_default ({columns})" for prefix, columns in table.unique),
    ):
        cursor.execute(statement)


class Migration(migrations.Migration):
    # A transaction around all of it would lock the tables while their rows are read.
    atomic = False

    dependencies = [
        ("webhooks", "0002_operators"),
    ]

    operations = [
        migrations.SeparateDatabaseAndState(
            database_operations=[PartitionByWeek()],
            state_operations=[
                migrations.AlterField("WebhookMessage", "created_at", models.DateTimeField(db_default=Now())),
                migrations.AlterField(
                    "WebhookDelivery",
                    "message",
                    models.ForeignKey(
                        db_constraint=False,
                        on_delete=django.db.models.deletion.CASCADE,
                        related_name="deliveries",
                        to="webhooks.webhookmessage",
                    ),
                ),
            ],
        ),
    ]
