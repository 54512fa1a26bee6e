"""
Whether the installation is well: asked by load balancers, by `manage.py doctor` and at the start.

`/livez` says that this process answers. `/readyz` says that the installation can do its work: the database
answers and has every migration, the broker takes a write, a worker is alive. It names parts, never their addresses.
`/readyz?without=worker` is for whoever asks about the web server alone: transfers need no worker.
"""

import time
from collections.abc import Callable

from django.conf import settings
from django.db import DatabaseError, connection
from django.db.migrations.executor import MigrationExecutor
from django.http import HttpRequest, JsonResponse
from django.views.decorators.cache import never_cache
from django.views.decorators.http import require_safe

from config.api.pools import Pool, answered_on
from config.ops import redis_status
from config.postgresql import sessions

# Five signs of life of a worker's main process.
WORKER_SILENT_SECONDS = 10.0
# Longer than any task may take, so that a worker whose children are all busy is not called dead.
RING_UNANSWERED_SECONDS = 180.0


_ALONE = "; wrong logins and codes are counted by each process alone"


class Unhealthy(Exception):
    """A part is not well; the sentence says what is wrong with it and reveals no address or secret."""


def check_database() -> None:
    """:raises Unwell: no answer to a query"""
    try:
        with connection.cursor() as cursor:
            cursor.execute("SELECT 1")
    except DatabaseError as error:
        # PgBouncer's message. It comes without an SQLSTATE.
        if "unsupported startup parameter" in str(error):
            raise Unhealthy("is behind a pooler; set COPPICE_DATABASE_POOLED=true") from error
        # A prepared statement that the session already has, or has not: it is one that another client prepared.
        if getattr(error.__cause__, "sqlstate", None) in {"42P05", "26000"}:
            raise Unhealthy(
                "is behind a pooler that knows no prepared statements; set COPPICE_DATABASE_POOLED=true"
            ) from error
        raise Unhealthy("does not answer") from error


def check_settings() -> None:
    """
    Compare what sessions have with what they should have.

    :raises Unwell: something between drops what a connection sends, or the database does not keep it for this role
    """
    try:
        wrong = sessions.differences(connection, settings.DATABASE_SETTINGS)
    except DatabaseError as error:
        raise Unhealthy("unknown, the database does not answer") from error
    if not wrong:
        return
    said = ", ".join(
        # Of the others the URL may hold anything.
        f"{name} is {has or 'empty'} and not {wants}" if name in sessions.SETTINGS else f"{name} is another"
        for name, (has, wants) in sorted(wrong.items())
    )
    remedy = "run `manage.py prepare`"
    if settings.DATABASE_POOLED is sessions.Pooled.NO:
        remedy = f"a pooler drops them: set COPPICE_DATABASE_POOLED=true and {remedy}"
    raise Unhealthy(f"{said}; {remedy}")


def check_writes() -> None:
    """:raises Unwell: the database takes no writes, as a standby server or a former primary does"""
    try:
        with connection.cursor() as cursor:
            cursor.execute("SELECT pg_is_in_recovery(), current_setting('transaction_read_only')::boolean")
            is_standby, is_read_only = cursor.fetchone()
    except DatabaseError as error:
        raise Unhealthy("unknown, the database does not answer") from error
    if is_standby:
        raise Unhealthy("read-only: the database is a standby server; requests that write are answered with 503")
    if is_read_only:
        raise Unhealthy("read-only: default_transaction_read_only is on; requests that write are answered with 503")


def check_migrations() -> None:
    """
    Compare the migrations of this code with those applied. If the list is as it was when all was well, it still is.

    :raises Unwell: a migration of this code has not been applied
    """
    try:
        with connection.cursor() as cursor:
            cursor.execute("SELECT count(*), max(id) FROM django_migrations")
            applied = cursor.fetchone()
        if applied == _well.get(connection.settings_dict["NAME"]):
            return
        executor = MigrationExecutor(connection)
        missing = executor.migration_plan(executor.loader.graph.leaf_nodes())
    except DatabaseError as error:
        raise Unhealthy("unknown, the database does not answer") from error
    if missing:
        raise Unhealthy(f"{len(missing)} not applied; run `manage.py migrate`")
    _well[connection.settings_dict["NAME"]] = applied


# Reading all migrations from disk takes a hundred times as long as asking how many are applied.
_well: dict[str, tuple[int, int]] = {}


def check_broker() -> None:
    """:raises Unwell: no answer, or no write is taken: then tasks wait, and each process counts wrong logins alone"""
    try:
        redis_status.refuse_cluster(settings.REDIS_URL)
        redis_status.check_write(settings.REDIS_URL)
    except redis_status.IsCluster as error:
        raise Unhealthy("is a cluster, over which Celery cannot spread its queues") from error
    except redis_status.BrokerRefuses as error:
        raise Unhealthy(f"refuses writes: {error}{_ALONE}") from error
    except redis_status.BrokerSilent as error:
        raise Unhealthy(f"does not answer{_ALONE}") from error


def check_worker() -> None:
    """:raises Unwell: no worker is alive, or the rings of beat go unanswered"""
    try:
        alive = max(redis_status.workers(settings.REDIS_URL).values(), default=0.0)
        answered = redis_status.last_heartbeat(settings.REDIS_URL)
    except redis_status.BrokerSilent as error:
        raise Unhealthy("unknown, the broker does not answer") from error
    now = time.time()
    if not alive:
        raise Unhealthy("none has ever been alive")
    if now - alive > WORKER_SILENT_SECONDS:
        raise Unhealthy(f"last alive {now - alive:.0f} s ago")
    if not answered:
        raise Unhealthy("has never answered a ring of beat")
    if now - answered > RING_UNANSWERED_SECONDS:
        raise Unhealthy(f"last answered a ring of beat {now - answered:.0f} s ago")


READINESS: dict[str, Callable[[], None]] = {
    "database": check_database,
    "settings": check_settings,
    "writes": check_writes,
    "migrations": check_migrations,
    "broker": check_broker,
    "worker": check_worker,
}


@answered_on(Pool.ALIVE)
@never_cache
@require_safe
def livez(request: HttpRequest) -> JsonResponse:
    return JsonResponse({"status": "ok"})


@never_cache
@require_safe
def readyz(request: HttpRequest) -> JsonResponse:
    parts: dict[str, str] = {}
    without = request.GET.get("without", "").split(",")
    for name, check in READINESS.items():
        if name in without:
            continue
        try:
            check()
        except Unhealthy as error:
            parts[name] = str(error)
        else:
            parts[name] = "ok"
    well = all(answer == "ok" for answer in parts.values())
    if not settings.RAIDA_HOSTS:
        # Not a fault: whoever runs it named no servers.
        parts["lockers"] = "off"
    return JsonResponse({"status": "ok" if well else "unwell", **parts}, status=200 if well else 503)
