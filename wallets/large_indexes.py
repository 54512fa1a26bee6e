"""A migration's index of a table that may be large: requests write to the table while it is built."""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from django.conf import settings
from django.contrib.postgres.operations import AddIndexConcurrently
from django.db import OperationalError

_LIMITS = ("statement_timeout", "lock_timeout")


class AddLargeIndex(AddIndexConcurrently):
    """
    Build the index with CREATE INDEX CONCURRENTLY, without the time limits of a session.

    The migration has `atomic = False`, so it may be interrupted: applied again, it keeps the indexes that were built,
    and replaces one that was not built to its end.

    A pooler does not let one session keep settings outside of a transaction, so the limits apply there.

    :raises django.db.OperationalError: a limit ended it
    """

    def database_forwards(self, app_label: str, schema_editor: Any, from_state: Any, to_state: Any) -> None:
        quoted = schema_editor.quote_name(self.index.name)
        with schema_editor.connection.cursor() as cursor:
            cursor.execute("SELECT indisvalid FROM pg_index WHERE indexrelid = to_regclass(%s)", [quoted])
            found = cursor.fetchone()
            if found == (True,):
                return
            with _without_limits(cursor):
                if found is not None:
                    cursor.execute(f"DROP INDEX CONCURRENTLY {quoted}")
                super().database_forwards(app_label, schema_editor, from_state, to_state)


@contextmanager
def _without_limits(cursor: Any) -> Iterator[None]:
    if settings.DATABASE_POOLED != "false":
        try:
            yield
        except OperationalError as error:
            raise OperationalError(
                "An index could not be built within the time limits of a session behind the pooler. Apply the"
                " migrations with a DATABASE_URL that leads to PostgreSQL itself, and COPPICE_DATABASE_POOLED=false."
            ) from error
        return
    cursor.execute(f"SELECT {', '.join(f'current_setting({limit!r})' for limit in _LIMITS)}")
    before = cursor.fetchone()
    try:
        for limit in _LIMITS:
            cursor.execute("SELECT set_config(%s, '0', false)", [limit])
        yield
    finally:
        for limit, value in zip(_LIMITS, before, strict=True):
            cursor.execute("SELECT set_config(%s, %s, false)", [limit, value])
