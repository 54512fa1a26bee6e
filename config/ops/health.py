"""
Health checks, for load balancers, `manage.py doctor` and the supervisor.

`/livez`: this process answers. `/readyz`: the database answers and has all migrations, the broker accepts a write, and
a worker is alive. It names parts, never their addresses. `/readyz?without=worker` is for a load balancer: transfers
need no worker.
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
from config.ops import rabbitmq, redis_status
from config.postgresql import replica, sessions

# Five heartbeats of a worker's main process.
WORKER_SILENT_SECONDS = 10.0
# Longer than the time limit of tasks: a worker whose children are all busy is alive.
BEAT_SILENT_SECONDS = 180.0


_UNKNOWN = "unknown, the broker does not answer"
_ALONE = "; wrong logins and codes are counted by each process alone"


class Unhealthy(Exception):
    """A check failed. The message reveals no address or secret."""


class BrokerAway(Unhealthy):
    """The broker did not answer. `readyz` does not ask it again: a load balancer waits for a few seconds only."""


def check_database() -> None:
    """:raises Unhealthy: no answer to a query"""
    try:
        with connection.cursor() as cursor:
            cursor.execute("SELECT 1")
    except DatabaseError as error:
        # PgBouncer's message, which has no SQLSTATE.
        if "unsupported startup parameter" in str(error):
            raise Unhealthy("is behind a pooler; set COPPICE_DATABASE_POOLED=true") from error
        # The session has a prepared statement of another client, or lacks one of ours.
        if getattr(error.__cause__, "sqlstate", None) in {"42P05", "26000"}:
            raise Unhealthy(
                "is behind a pooler without prepared statements; set COPPICE_DATABASE_POOLED=true"
            ) from error
        raise Unhealthy("does not answer") from error


def check_settings() -> None:
    """
    Compare the settings of a session with the required ones.

    :raises Unhealthy: a pooler drops them, or the database does not store them for this role
    """
    try:
        wrong = sessions.differences(connection, settings.DATABASE_SETTINGS)
    except DatabaseError as error:
        raise Unhealthy("unknown, the database does not answer") from error
    if not wrong:
        return
    wrong_settings = ", ".join(
        # Values of other settings come from DATABASE_URL and are not shown.
        f"{name} is {has or 'empty'}, not {wants}" if name in sessions.SETTINGS else f"{name} differs"
        for name, (has, wants) in sorted(wrong.items())
    )
    remedy = "run `manage.py prepare`"
    if settings.DATABASE_POOLED is sessions.Pooled.NO:
        remedy = f"a pooler drops them: set COPPICE_DATABASE_POOLED=true and {remedy}"
    raise Unhealthy(f"{wrong_settings}; {remedy}")


def check_writes() -> None:
    """:raises Unhealthy: the database accepts no writes, such as a standby server or a former primary"""
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
    Check that all migrations are applied. The result is cached until the table of applied migrations changes.

    :raises Unhealthy: a migration of this code has not been applied
    """
    try:
        with connection.cursor() as cursor:
            cursor.execute("SELECT count(*), max(id) FROM django_migrations")
            applied = cursor.fetchone()
        if applied == _complete.get(connection.settings_dict["NAME"]):
            return
        executor = MigrationExecutor(connection)
        missing = executor.migration_plan(executor.loader.graph.leaf_nodes())
    except DatabaseError as error:
        raise Unhealthy("unknown, the database does not answer") from error
    if missing:
        raise Unhealthy(f"{len(missing)} not applied; run `manage.py migrate`")
    _complete[connection.settings_dict["NAME"]] = applied


# Reading all migrations from disk takes a hundred times as long as the query.
_complete: dict[str, tuple[int, int]] = {}


def check_replica() -> str:
    """
    Return how far the replica is behind. Requests do not need it: the primary answers what it does not.

    :raises Unhealthy: it cannot be read
    """
    try:
        return f"{replica.state().lag_seconds:.0f} s behind"
    except replica.Unusable as error:
        raise Unhealthy(str(error)) from error


def check_broker() -> None:
    """
    Write a value, and connect to RabbitMQ if it is the broker.

    :raises BrokerAway: the server of REDIS_URL does not answer
    :raises Unhealthy: it refuses writes, or is a server of a cluster; or RabbitMQ does not answer
    """
    refusal: redis_status.BrokerRefuses | None = None
    try:
        redis_status.check_write(settings.REDIS_URL)
    except redis_status.BrokerRefuses as error:
        refusal = error
    except redis_status.BrokerSilent as error:
        raise BrokerAway(f"does not answer{_ALONE}") from error
    try:
        redis_status.refuse_cluster(settings.REDIS_URL)
    except redis_status.IsCluster as error:
        raise Unhealthy("is a cluster, which Celery does not support") from error
    if refusal is not None:
        raise Unhealthy(f"refuses writes: {refusal}{_ALONE}") from refusal
    if settings.BROKER_URL:
        try:
            rabbitmq.waiting(settings.BROKER_URL, redis_status.QUEUES)
        except redis_status.BrokerSilent as error:
            raise Unhealthy("RabbitMQ does not answer; the next sweep wakes workers") from error


def check_worker() -> None:
    """
    Check the heartbeats of workers and beat.

    :raises BrokerAway: the broker, which has them, does not answer
    :raises Unhealthy: no worker is alive, or none processes the tasks that beat schedules
    """
    try:
        alive = max(redis_status.workers(settings.REDIS_URL).values(), default=0.0)
        answered = redis_status.last_heartbeat(settings.REDIS_URL)
    except redis_status.BrokerSilent as error:
        raise BrokerAway(_UNKNOWN) from error
    now = time.time()
    if not alive:
        raise Unhealthy("no worker has been seen")
    if now - alive > WORKER_SILENT_SECONDS:
        raise Unhealthy(f"last seen {now - alive:.0f} s ago")
    if not answered:
        raise Unhealthy("no heartbeat of beat has been processed")
    if now - answered > BEAT_SILENT_SECONDS:
        raise Unhealthy(f"last processed a heartbeat of beat {now - answered:.0f} s ago")


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
    broker_is_away = False
    for name, check in READINESS.items():
        if name in without:
            continue
        if name == "worker" and broker_is_away:
            parts[name] = _UNKNOWN
            continue
        try:
            check()
        except Unhealthy as error:
            parts[name] = str(error)
            broker_is_away |= isinstance(error, BrokerAway)
        else:
            parts[name] = "ok"
    healthy = all(answer == "ok" for answer in parts.values())
    if replica.is_configured():
        try:
            parts["replica"] = check_replica()
        except Unhealthy as error:
            parts["replica"] = f"{error}; the primary is read"
    if not settings.RAIDA_HOSTS:
        # Not an error: no RAIDA servers are configured.
        parts["lockers"] = "off"
    return JsonResponse({"status": "ok" if healthy else "unwell", **parts}, status=200 if healthy else 503)
