"""
Partitions movements by ranges of their ids. The present table becomes the first partition: no row is rewritten.

That no row is outside of its range is proved by a constraint that is validated while others read and write. The last
step takes ACCESS EXCLUSIVE on the table, for some milliseconds and no more than `lock_timeout` of waiting. If it fails,
nothing has changed but that constraint, and the migration can be applied again.

Transfers are not partitioned: see "Partitions" in transfers/README.md.
"""

from typing import Any, Final

from django.db import migrations, models, transaction
from django.db.models.functions import Now

# As `transfers.partitions.SIZE` was when this migration was written.
_SIZE: Final = 100_000_000
# How far behind the newest movement the first partition ends at least: no running statement has an id beyond it.
_DISTANCE: Final = 10_000_000

# By object of the plain table: its name in the first partition.
_RENAMED: Final = {
    "transfers_movement_pkey": "transfers_movement_from_0_pkey",
    "movement_once_per_number": "movement_once_per_number_from_0",
    "movement_by_transfer": "transfers_movement_from_0_transfer_number_idx",
}
_KEYS: Final = ("transfers_movement_pkey", "movement_once_per_number")
_BY_TRANSFER: Final = (
    "CREATE INDEX movement_by_transfer ON transfers_movement (transfer_number) WHERE transfer_number IS NOT NULL"
)
_TRIGGERS: Final = {
    "movement_append_only": "CREATE TRIGGER movement_append_only BEFORE UPDATE OR DELETE ON transfers_movement"
    " FOR EACH ROW EXECUTE FUNCTION coppice_refuse('transfers_movement is append-only')",
    "movement_issue_or_transfer": "CREATE TRIGGER movement_issue_or_transfer BEFORE INSERT ON transfers_movement"
    " FOR EACH ROW EXECUTE FUNCTION transfers_check_movement()",
}


def _partition(execute: Any, end: int) -> None:
    """Put a partitioned table in the place of the plain one, which becomes its first partition."""
    execute("LOCK TABLE transfers_movement IN ACCESS EXCLUSIVE MODE")
    for trigger in _TRIGGERS:
        execute(f"DROP TRIGGER {trigger} ON transfers_movement")
    execute("ALTER TABLE transfers_movement RENAME TO transfers_movement_from_0")
    for name, renamed in _RENAMED.items():
        if name in _KEYS:
            execute(f"ALTER TABLE transfers_movement_from_0 RENAME CONSTRAINT {name} TO {renamed}")
        else:
            execute(f"ALTER INDEX {name} RENAME TO {renamed}")
    execute("CREATE TABLE transfers_movement (LIKE transfers_movement_from_0) PARTITION BY RANGE (id)")
    execute("ALTER TABLE transfers_movement ADD CONSTRAINT transfers_movement_pkey PRIMARY KEY (id)")
    execute(_BY_TRANSFER)
    for definition in _TRIGGERS.values():
        execute(definition)
    # Otherwise it would be dropped with the first partition.
    execute("ALTER SEQUENCE transfers_arrival OWNED BY transfers_movement.id")
    execute(
        "ALTER TABLE transfers_movement ATTACH PARTITION transfers_movement_from_0"
        f" FOR VALUES FROM (MINVALUE) TO ({end})"
    )
    # Each statement that writes would parse it.
    execute("ALTER TABLE transfers_movement_from_0 DROP CONSTRAINT movement_in_range")
    last = f"transfers_movement_from_{end}"
    execute(f"CREATE TABLE {last} (LIKE transfers_movement)")
    execute(f"ALTER TABLE {last} ADD CONSTRAINT movement_once_per_number_from_{end} UNIQUE (token_id, number)")
    execute(f"ALTER TABLE transfers_movement ATTACH PARTITION {last} FOR VALUES FROM ({end}) TO (MAXVALUE)")


def _unite(execute: Any) -> None:
    """Put a plain table in the place of the partitioned one, and copy all rows."""
    execute("LOCK TABLE transfers_movement IN ACCESS EXCLUSIVE MODE")
    execute("ALTER TABLE transfers_movement RENAME TO transfers_movement_parts")
    for name in ("transfers_movement_pkey", "movement_by_transfer"):
        execute(f"ALTER INDEX {name} RENAME TO old_{name}")
    execute("CREATE TABLE transfers_movement (LIKE transfers_movement_parts)")
    execute("INSERT INTO transfers_movement SELECT * FROM transfers_movement_parts ORDER BY id")
    execute("ALTER SEQUENCE transfers_arrival OWNED BY transfers_movement.id")
    execute("DROP TABLE transfers_movement_parts")
    execute("ALTER TABLE transfers_movement ADD CONSTRAINT transfers_movement_pkey PRIMARY KEY (id)")
    execute("ALTER TABLE transfers_movement ADD CONSTRAINT movement_once_per_number UNIQUE (token_id, number)")
    execute(_BY_TRANSFER)
    for definition in _TRIGGERS.values():
        execute(definition)


class PartitionMovements(migrations.CreateModel):
    """Partitions the table of movements, and creates that of detached partitions. The reverse copies all rows."""

    def database_forwards(self, app_label: str, schema_editor: Any, from_state: Any, to_state: Any) -> None:
        connection = schema_editor.connection
        with connection.cursor() as cursor:
            with transaction.atomic(using=connection.alias):
                cursor.execute("SELECT last_value FROM transfers_arrival")
                end = ((cursor.fetchone()[0] + _DISTANCE) // _SIZE + 1) * _SIZE
                cursor.execute("ALTER TABLE transfers_movement DROP CONSTRAINT IF EXISTS movement_in_range")
                cursor.execute(
                    f"ALTER TABLE transfers_movement ADD CONSTRAINT movement_in_range CHECK (id < {end}) NOT VALID"
                )
            with transaction.atomic(using=connection.alias):
                cursor.execute("SET LOCAL statement_timeout = 0")
                cursor.execute("ALTER TABLE transfers_movement VALIDATE CONSTRAINT movement_in_range")
            with transaction.atomic(using=connection.alias):
                super().database_forwards(app_label, schema_editor, from_state, to_state)
                _partition(cursor.execute, end)

    def database_backwards(self, app_label: str, schema_editor: Any, from_state: Any, to_state: Any) -> None:
        connection = schema_editor.connection
        with transaction.atomic(using=connection.alias), connection.cursor() as cursor:
            cursor.execute("SET LOCAL statement_timeout = 0")
            cursor.execute("SELECT name FROM transfers_detachedpartition")
            if names := [name for (name,) in cursor.fetchall()]:
                raise RuntimeError(f"Attach these partitions of movements first: {', '.join(names)}.")
            _unite(cursor.execute)
            super().database_backwards(app_label, schema_editor, from_state, to_state)


class Migration(migrations.Migration):
    # So that others write while the rows are checked.
    atomic = False

    dependencies = [("transfers", "0011_newest_first")]

    operations = [
        PartitionMovements(
            name="DetachedPartition",
            fields=[
                ("below", models.BigIntegerField(primary_key=True, serialize=False)),
                ("name", models.CharField(max_length=63, unique=True)),
                ("movements", models.BigIntegerField()),
                ("last_transfer", models.BigIntegerField(null=True)),
                ("newest_at", models.DateTimeField(null=True)),
                ("checksum", models.DecimalField(decimal_places=0, max_digits=40)),
                ("detached_at", models.DateTimeField(db_default=Now())),
            ],
        ),
    ]
