"""All migrations go back and forward again, and leave the same schema."""

import re
from typing import Any, Final

import pytest
from django.db import connection
from django.db.migrations.executor import MigrationExecutor

from tests.support.migrated_apps import APPS, go_to_newest

# Django renders the models of all apps for each migration, which takes 20 s of processor time.
OF_SYSTEMS = True

SCHEMA: Final = {
    "columns": """
        SELECT table_name, column_name, data_type, character_maximum_length, numeric_precision, is_nullable,
               column_default, is_identity, generation_expression
          FROM information_schema.columns WHERE table_schema = current_schema()""",
    "constraints": """
        SELECT conrelid::regclass::text, conname, pg_get_constraintdef(oid)
          FROM pg_constraint WHERE connamespace = current_schema()::regnamespace""",
    "indexes": "SELECT tablename, indexname, indexdef FROM pg_indexes WHERE schemaname = current_schema()",
    "functions": """
        SELECT proname, pg_get_functiondef(oid) FROM pg_proc WHERE pronamespace = current_schema()::regnamespace""",
    "triggers": "SELECT tgrelid::regclass::text, tgname, pg_get_triggerdef(oid) FROM pg_trigger WHERE NOT tgisinternal",
    "sequences": """
        SELECT seqrelid::regclass::text, seqtypid::regtype::text, refobjid::regclass::text, attname
          FROM pg_sequence LEFT JOIN pg_depend ON objid = seqrelid AND deptype IN ('a', 'i') AND refobjsubid > 0
          LEFT JOIN pg_attribute ON attrelid = refobjid AND attnum = refobjsubid""",
}


_PARTITION: Final = re.compile(r"(desk_request|wallets_idempotentanswer|webhooks_webhook(message|delivery))_\d{8}$")


def schema() -> dict[str, list[Any]]:
    with connection.cursor() as cursor:
        found = {}
        for kind, sql in SCHEMA.items():
            cursor.execute(sql)
            # Not the partitions by day or week: which have one depends on when they were written.
            found[kind] = sorted((row for row in cursor.fetchall() if not _PARTITION.match(row[0])), key=repr)
        return found


@pytest.mark.django_db
def test_all_migrations_go_back_and_forward_again() -> None:
    before = schema()
    own = [row for rows in before.values() for row in rows if row[0].startswith((*APPS, "coppice"))]
    assert all(before.values())
    assert own

    MigrationExecutor(connection).migrate([(app, "0001_initial") for app in APPS])
    models_alone = schema()
    MigrationExecutor(connection).migrate([(app, None) for app in APPS])
    left = schema()
    go_to_newest()

    # The generated column of a wallet needs its function from the beginning.
    assert [name for name, _ in models_alone["functions"]] == ["wallets_written"]
    assert models_alone["triggers"] == []
    assert [row for rows in left.values() for row in rows if row[0].startswith((*APPS, "coppice"))] == []
    assert schema() == before
