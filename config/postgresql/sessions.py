"""
What a session with PostgreSQL is like: where it leads, what is set in it, and what may be relied on in it.

`SETTINGS` is the one list of what every session has. A direct connection sends it when it begins. A pooler in front of
PostgreSQL takes no settings from a client (PgBouncer: "unsupported startup parameter: options"), and a session that
it lends to another client must carry none of one client's own: then the database keeps them for the role
(`ALTER ROLE … IN DATABASE … SET`), which needs no superuser. `manage.py prepare` does that, and `differences` compares
what a session has with what it should have, whichever way it came there.
"""

import time
from collections.abc import Mapping
from enum import StrEnum
from types import MappingProxyType
from typing import Any, Final

import psycopg
from psycopg import sql
from psycopg.conninfo import conninfo_to_dict

# A wait that will not end in time becomes a clear 503 and never a pile-up. Compiling (`jit`) pays only for queries that
# run for seconds. A plan is kept while its tables grow, and walking one that was tiny when it was planned is a trap:
# without `enable_seqscan` that is done only where no index can serve. What may last longer says so itself with
# `SET LOCAL`: migrations, audits, backups, folding, resealing.
SETTINGS: Final[Mapping[str, str]] = MappingProxyType(
    {
        "jit": "off",
        "enable_seqscan": "off",
        "lock_timeout": "5s",
        "statement_timeout": "30s",
        "idle_in_transaction_session_timeout": "60s",
        # Django sets it in each new session whose time zone is another.
        "TimeZone": "UTC",
    }
)
# A server that takes the connection and then says nothing would hold the thread for ever.
CONNECT_SECONDS: Final = 5
_END_SECONDS: Final = 5.0


class Pooled(StrEnum):
    """Whether a pooler in transaction mode stands in front of PostgreSQL."""

    NO = "false"
    # It does not know prepared statements: PgBouncer before 1.21, or with max_prepared_statements = 0.
    YES = "true"
    PREPARED = "prepared"


def parameters(url: str) -> dict[str, str]:
    """
    Take a connection URL apart as libpq does, which knows hosts in the plural, TLS, and more.

    :raises ValueError: libpq does not understand it; the message repeats nothing of it
    """
    try:
        found = conninfo_to_dict(url)
    except psycopg.Error:
        # What libpq says repeats the part that it stumbled over, which may be of the password.
        raise ValueError(
            "is not a URL that libpq understands; blanks and special characters are written as %20, %40 …"
        ) from None
    return {name: str(value) for name, value in found.items()}


def settings_in(options: str) -> dict[str, str]:
    r"""
    Read settings from libpq's `options`: `-c name=value` or `--name=value`, a blank in a value written as `\ `.

    :raises ValueError: something else is in them
    """
    words: list[str] = [""]
    letters = iter(options)
    for letter in letters:
        if letter == "\\":
            words[-1] += next(letters, "")
        elif letter.isspace():
            words.append("")
        else:
            words[-1] += letter
    words = [word for word in words if word]
    found = {}
    while words:
        word = words.pop(0)
        if word == "-c" and words:
            word = words.pop(0)
        elif word.startswith(("-c", "--")):
            word = word[2:]
        else:
            raise ValueError("its `options` hold something other than -c name=value")
        name, sign, value = word.partition("=")
        if not sign or not name:
            raise ValueError("its `options` hold something other than -c name=value")
        found[name.replace("-", "_")] = value
    return found


def wanted(url: str) -> dict[str, str]:
    """Return what each session of this URL should have: `SETTINGS`, and what its `options` say instead or besides."""
    try:
        own = settings_in(parameters(url).get("options", ""))
    except ValueError:
        # Switches other than settings, which a direct connection sends as they are.
        own = {}
    lowered = {name.lower() for name in own}
    return {name: value for name, value in SETTINGS.items() if name.lower() not in lowered} | own


def database(url: str, pooled: Pooled) -> dict[str, Any]:
    """Turn a connection URL into Django's dictionary. What Django has no word for reaches libpq as it is."""
    given = parameters(url)
    sent = " ".join(f"-c {name}={value}" for name, value in SETTINGS.items())
    own = given.pop("options", "")
    return {
        "ENGINE": "config.postgresql",
        "NAME": given.pop("dbname"),
        "USER": given.pop("user", ""),
        "PASSWORD": given.pop("password", ""),
        "HOST": given.pop("host", ""),
        "PORT": given.pop("port", ""),
        # One connection per thread, kept: a new one per request costs ten times the request.
        "CONN_MAX_AGE": None,
        "CONN_HEALTH_CHECKS": True,
        # A cursor at the server that no transaction holds would be looked for in another session.
        "DISABLE_SERVER_SIDE_CURSORS": pooled is not Pooled.NO,
        "OPTIONS": {
            "connect_timeout": str(CONNECT_SECONDS),
            **given,
            "server_side_binding": True,
            # A statement that comes back is planned once per connection: planning a transfer takes three times as
            # long as doing it. A pooler that does not know them would find them in another session.
            "prepare_threshold": None if pooled is Pooled.YES else 1,
            # The later of two settings holds. An empty text keeps libpq from sending those of the environment.
            "options": f"{sent} {own}".strip() if pooled is Pooled.NO else "",
        },
    }


def differences(connection: Any, wanted: Mapping[str, str]) -> dict[str, tuple[str, str]]:
    """
    Return, by the names of settings, what the session has and what it should have, where these differ.

    :raises django.db.DatabaseError: no answer, or a value that PostgreSQL does not take
    """
    with connection.cursor() as cursor:
        # To set it, for this statement alone, is how PostgreSQL says in its own words what is wanted: 60s is 1min.
        cursor.execute(
            "SELECT name, current_setting(name, true), set_config(name, value, true)"
            " FROM unnest(%s::text[], %s::text[]) AS wanted (name, value)",
            [list(wanted), list(wanted.values())],
        )
        return {name: (has or "", wants) for name, has, wants in cursor.fetchall() if has != wants}


def keep(connection: Any, wanted: Mapping[str, str]) -> int | None:
    """
    Have the database keep the settings for the role of this connection, and end sessions that began without them.

    Sessions that are at work may end within some seconds. Returns how many still lack them after that; None if
    nothing had to be done. Not inside a transaction.

    :raises django.db.DatabaseError: the role may not set one of them
    """
    is_changed = False
    with connection.cursor() as cursor:
        cursor.execute("""
            SELECT current_database(), coalesce((
                SELECT setconfig FROM pg_db_role_setting
                 WHERE setrole = session_user::regrole
                   AND setdatabase = (SELECT oid FROM pg_database WHERE datname = current_database())), '{}')
        """)
        name_of_database, kept = cursor.fetchone()
        has = {name.lower(): value for name, _, value in (each.partition("=") for each in kept)}
        for name, value in wanted.items():
            # In PostgreSQL's own words, see `differences`.
            cursor.execute("SELECT set_config(%s, %s, true)", [name, value])
            if has.get(name.lower()) == cursor.fetchone()[0]:
                continue
            is_changed = True
            _keep_one(cursor, name, value, name_of_database)
    if not is_changed and not differences(connection, wanted):
        return None
    return _end_earlier_sessions(connection)


def _keep_one(cursor: Any, name: str, value: str, name_of_database: str) -> None:
    # In one statement, so that it is one transaction. FROM CURRENT takes lists such as search_path as what they are.
    change = sql.SQL("ALTER ROLE SESSION_USER IN DATABASE {} SET {} FROM CURRENT").format(
        sql.Identifier(name_of_database), sql.Identifier(*name.split("."))
    )
    block = sql.SQL("BEGIN PERFORM set_config({}, {}, true); {}; END").format(
        sql.Literal(name), sql.Literal(value), change
    )
    cursor.execute(sql.SQL("DO {}").format(sql.Literal(block.as_string())).as_string())


def _end_earlier_sessions(connection: Any) -> int:
    """
    End the role's sessions that began without the settings, and return how many are still at work.

    A pooler keeps server sessions open, by default for an hour, and lends them to clients with the settings that these
    sessions began with.
    """
    with connection.cursor() as cursor:
        cursor.execute("SELECT clock_timestamp()")
        (now,) = cursor.fetchone()
    deadline = time.monotonic() + _END_SECONDS
    while True:
        with connection.cursor() as cursor:
            cursor.execute(
                "SELECT count(*) FILTER (WHERE NOT coalesce(state = 'idle' AND pg_terminate_backend(pid), false))"
                "  FROM pg_stat_activity WHERE backend_type = 'client backend' AND pid <> pg_backend_pid()"
                "   AND usename = session_user AND datname = current_database() AND backend_start < %s",
                [now],
            )
            (left,) = cursor.fetchone()
        if not left or time.monotonic() > deadline:
            break
        time.sleep(0.1)
    try:
        with connection.cursor() as cursor:
            cursor.execute("SELECT pg_terminate_backend(pg_backend_pid())")
    except psycopg.Error:
        pass
    except Exception as error:
        # Django's own class for the same.
        if not isinstance(error.__cause__, psycopg.Error):
            raise
    connection.close()
    return int(left)
