"""
Whether the installation is well: asked by load balancers, by `manage.py doctor` and at the start.

`/livez` says that this process answers. `/readyz` says that it can do its work: the database
answers and has every migration, and the broker answers. It names parts, never their addresses.
"""

import time
from collections.abc import Callable

from django.conf import settings
from django.db import DatabaseError, connection
from django.db.migrations.executor import MigrationExecutor
from django.http import HttpRequest, JsonResponse
from django.views.decorators.cache import never_cache
from django.views.decorators.http import require_safe

from config import broker

# Five rings of beat.
HEARTBEAT_STALE_SECONDS = 10.0


class Unwell(Exception):
    """A part is not well; the sentence says what is wrong with it and reveals no address or secret."""


def check_database() -> None:
    """:raises Unwell: no answer to a query"""
    try:
        with connection.cursor() as cursor:
            cursor.execute("SELECT 1")
    except DatabaseError as error:
        raise Unwell("does not answer") from error


def check_migrations() -> None:
    """:raises Unwell: a migration of this code has not been applied"""
    try:
        executor = MigrationExecutor(connection)
        missing = executor.migration_plan(executor.loader.graph.leaf_nodes())
    except DatabaseError as error:
        raise Unwell("unknown, the database does not answer") from error
    if missing:
        raise Unwell(f"{len(missing)} not applied; run `manage.py migrate`")


def check_broker() -> None:
    """:raises Unwell: no answer to a ping"""
    try:
        broker.ping(settings.REDIS_URL)
    except broker.BrokerSilent as error:
        raise Unwell("does not answer") from error


def check_worker() -> None:
    """:raises Unwell: no worker has answered a ring of beat lately"""
    try:
        last = broker.last_heartbeat(settings.REDIS_URL)
    except broker.BrokerSilent as error:
        raise Unwell("unknown, the broker does not answer") from error
    if not last:
        raise Unwell("has never answered a ring of beat")
    if (age := time.time() - last) > HEARTBEAT_STALE_SECONDS:
        raise Unwell(f"last answered a ring of beat {age:.0f} s ago")


READINESS: dict[str, Callable[[], None]] = {
    "database": check_database,
    "migrations": check_migrations,
    "broker": check_broker,
}


@never_cache
@require_safe
def livez(request: HttpRequest) -> JsonResponse:
    return JsonResponse({"status": "ok"})


@never_cache
@require_safe
def readyz(request: HttpRequest) -> JsonResponse:
    parts: dict[str, str] = {}
    for name, check in READINESS.items():
        try:
            check()
        except Unwell as error:
            parts[name] = str(error)
        else:
            parts[name] = "ok"
    well = all(answer == "ok" for answer in parts.values())
    return JsonResponse({"status": "ok" if well else "unwell", **parts}, status=200 if well else 503)
