"""
Sessions with PostgreSQL: connection parameters and settings, with or without a pooler.

`SETTINGS` lists the settings of every session. A direct connection sends them when it opens. A pooler accepts none from
a client (PgBouncer: "unsupported startup parameter: options"), and lends one session to several clients; behind one the
database keeps the settings for the role (`ALTER ROLE … IN DATABASE … SET`), which needs no superuser. `manage.py
prepare` writes them there, and `differences` compares the settings of a session with the wanted ones in both cases.
"""

import time
from collections.abc import Mapping
from enum import StrEnum
from types import MappingProxyType
from typing import Any, Final

import psycopg
from psycopg import sql
from psycopg.conninfo import conninfo_to_dict

# Timeouts turn a long wait into a 503, so that requests do not pile up. `jit` pays only for queries that run for
# seconds. Without `enable_seqscan` a prepared plan reads a table sequentially only where no index serves: a plan that
# was made while the table was small is kept while the table grows. Migrations, audits, backups, folding and resealing
# raise the timeouts with `SET LOCAL`.
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
# A server that accepts the connection and does not answer would block the thread forever.
CONNECT_SECONDS: Final = 5
# A server whose machine is gone closes no connection: how long it may leave data unacknowledged, and how often a
# connection on which nothing is sent is probed. Each takes effect over TCP only.
LOST_PARAMETERS: Final[Mapping[str, str]] = MappingProxyType(
    {"tcp_user_timeout": "10000", "keepalives_idle": "5", "keepalives_interval": "2", "keepalives_count": "3"}
)
# The least that libpq accepts to connect.
_REPLICA_SECONDS: Final = 2
_END_SECONDS: Final = 5.0


class Pooled(StrEnum):
    """Whether the database URL leads to a pooler in transaction mode."""

    NO = "false"
    # A pooler without prepared statements: PgBouncer before 1.21, or with max_prepared_statements = 0.
    YES = "true"
    PREPARED = "prepared"


def parameters(url: str) -> dict[str, str]:
    """
    Parse a connection URL with libpq, which knows several hosts, TLS, and more.

    :raises ValueError: libpq cannot parse it; the message repeats no part of it
    """
    try:
        found = conninfo_to_dict(url)
    except psycopg.Error:
        # libpq's message repeats the part that it cannot parse, which may belong to the password.
        raise ValueError(
            "is not a URL that libpq understands; blanks and special characters are written as %20, %40 …"
        ) from None
    return {name: str(value) for name, value in found.items()}


def settings_in(options: str) -> dict[str, str]:
    r"""
    Parse the settings in libpq's `options`: `-c name=value` or `--name=value`, a blank in a value written as `\ `.

    :raises ValueError: they hold anything other than settings
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
    """Return the settings that each session of this URL should have: `SETTINGS`, overridden by its `options`."""
    try:
        own = settings_in(parameters(url).get("options", ""))
    except ValueError:
        # Other switches, which a direct connection sends unchanged.
        own = {}
    lowered = {name.lower() for name in own}
    return {name: value for name, value in SETTINGS.items() if name.lower() not in lowered} | own


def database(url: str, pooled: Pooled) -> dict[str, Any]:
    """Return Django's settings of a connection URL; parameters that Django has no name for are passed on to libpq."""
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
        # Each thread keeps its connection: opening one costs ten times as much as a request.
        "CONN_MAX_AGE": None,
        "CONN_HEALTH_CHECKS": True,
        # Outside a transaction a pooler may send the next FETCH of a server-side cursor to another session.
        "DISABLE_SERVER_SIDE_CURSORS": pooled is not Pooled.NO,
        "OPTIONS": {
            "connect_timeout": str(CONNECT_SECONDS),
            **LOST_PARAMETERS,
            **given,
            "server_side_binding": True,
            # Each statement is planned once per connection: planning a transfer takes three times as long as
            # executing it. A pooler without prepared statements would look for them in another session.
            "prepare_threshold": None if pooled is Pooled.YES else 1,
            # The last of two values wins. An empty text keeps libpq from sending PGOPTIONS.
            "options": f"{sent} {own}".strip() if pooled is Pooled.NO else "",
        },
    }


def replica(url: str, pooled: Pooled) -> dict[str, Any]:
    """Return Django's settings of the connection URL of a replica. Requests are answered without it too."""
    found, given = database(url, pooled), parameters(url)
    # Also detects, while it answers, a replica that vanished without closing its connections.
    lost = {"tcp_user_timeout": str(_REPLICA_SECONDS * 1000), "keepalives_idle": str(_REPLICA_SECONDS)}
    found["OPTIONS"] |= {name: value for name, value in lost.items() if name not in given}
    found["OPTIONS"]["connect_timeout"] = str(_REPLICA_SECONDS)
    return found


def differences(connection: Any, wanted: Mapping[str, str]) -> dict[str, tuple[str, str]]:
    """
    Return the settings of the session that differ from the wanted ones: {name: (actual value, wanted value)}.

    :raises django.db.DatabaseError: no answer, or PostgreSQL refuses a value
    """
    with connection.cursor() as cursor:
        # set_config returns the wanted value in PostgreSQL's notation (60s is 1min); it holds for this statement only.
        cursor.execute(
            "SELECT name, current_setting(name, true), set_config(name, value, true)"
            " FROM unnest(%s::text[], %s::text[]) AS wanted (name, value)",
            [list(wanted), list(wanted.values())],
        )
        return {name: (has or "", wants) for name, has, wants in cursor.fetchall() if has != wants}


def keep(connection: Any, wanted: Mapping[str, str]) -> int | None:
    """
    Store the settings in the database for the role of this connection, and end sessions that lack them.

    Sessions at work get five seconds to become idle. Returns how many still lack the settings after that; None if the
    settings were stored already. Must not run inside a transaction.

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
            # In PostgreSQL's notation, see `differences`.
            cursor.execute("SELECT set_config(%s, %s, true)", [name, value])
            if has.get(name.lower()) == cursor.fetchone()[0]:
                continue
            is_changed = True
            _keep_one(cursor, name, value, name_of_database)
    if not is_changed and not differences(connection, wanted):
        return None
    return _end_earlier_sessions(connection)


def _keep_one(cursor: Any, name: str, value: str, name_of_database: str) -> None:
    # One statement, so one transaction. FROM CURRENT keeps lists such as search_path as lists.
    change = sql.SQL("ALTER ROLE SESSION_USER IN DATABASE {} SET {} FROM CURRENT").format(
        sql.Identifier(name_of_database), sql.Identifier(*name.split("."))
    )
    block = sql.SQL("BEGIN PERFORM set_config({}, {}, true); {}; END").format(
        sql.Literal(name), sql.Literal(value), change
    )
    cursor.execute(sql.SQL("DO {}").format(sql.Literal(block.as_string())).as_string())


def _end_earlier_sessions(connection: Any) -> int:
    """
    End the role's sessions that began before now, and return how many are still at work.

    A pooler keeps sessions open, by default for an hour, with the settings that they began with.
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
        # Django wraps psycopg's error.
        if not isinstance(error.__cause__, psycopg.Error):
            raise
    connection.close()
    return int(left)
