"""
One index by time of closing for each party, in place of those for lists and those for statements.

PostgreSQL opens each index, and evaluates its condition, also for a transfer that is not in it. The new indexes are
built first, with readers beside them; those that they replace are dropped afterwards, in a moment. Interrupted at any
place, the migration runs again.
"""

from typing import Any

from django.db import migrations, models, transaction
from django.db.models import F, Func, Q

_TABLE = "transfers_transfer"
_ONLY_APART = " AND NOT (originator_id = source_id) AND NOT (originator_id = destination_id)"
_PARTIES = (("source", ""), ("destination", ""), ("originator", _ONLY_APART))
_ENDED = {
    f"transfer_ended_by_{party}": f"({party}_id, closed_at, number)"
    f" WHERE (closed_at <> created_at OR NOT (closed_event = '')){only}"
    for party, only in _PARTIES
}
_REPLACED = {
    **{
        f"transfer_closed_by_{party}": f"({party}_id, closed_at, number)"
        f" WHERE (closed_at > created_at OR closed_at < created_at){only}"
        for party, only in _PARTIES
    },
    **{
        f"transfer_late_by_{party}": f"({party}_id, closed_at) WHERE state = 'completed' AND NOT (closed_event = '')"
        for party in ("source", "destination")
    },
}


def _replace(connection: Any, old: dict[str, str], new: dict[str, str]) -> None:
    with connection.cursor() as cursor:
        with transaction.atomic(using=connection.alias):
            # New transfers wait.
            cursor.execute("SET LOCAL statement_timeout = 0")
            for name, definition in new.items():
                cursor.execute(f"CREATE INDEX IF NOT EXISTS {name} ON {_TABLE} {definition}")
        with transaction.atomic(using=connection.alias):
            cursor.execute(f"DROP INDEX IF EXISTS {', '.join(old)}")


def _forwards(apps: Any, schema_editor: Any) -> None:
    _replace(schema_editor.connection, _REPLACED, _ENDED)


def _backwards(apps: Any, schema_editor: Any) -> None:
    _replace(schema_editor.connection, _ENDED, _REPLACED)


_IS_CLOSED_APART = Func(
    F("closed_at"),
    F("created_at"),
    arg_joiner=" <> ",
    output_field=models.BooleanField(),
    template="%(expressions)s",
)


class Migration(migrations.Migration):
    # So that no reader waits while the indexes are built.
    atomic = False

    dependencies = [("transfers", "0017_functions")]

    operations = [
        migrations.SeparateDatabaseAndState(
            database_operations=[migrations.RunPython(_forwards, _backwards)],
            state_operations=[
                *(migrations.RemoveIndex("Transfer", name) for name in _REPLACED),
                *(
                    migrations.AddIndex(
                        "Transfer",
                        models.Index(
                            condition=(Q(_IS_CLOSED_APART) | ~Q(closed_event="")) & only,
                            fields=[party, "closed_at", "number"],
                            name=f"transfer_ended_by_{party}",
                        ),
                    )
                    for party, only in (
                        ("source", Q()),
                        ("destination", Q()),
                        ("originator", ~Q(originator=F("source")) & ~Q(originator=F("destination"))),
                    )
                ),
            ],
        ),
    ]
