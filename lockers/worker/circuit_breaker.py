"""
A circuit breaker for each server, shared by all workers.

After three failures in a row the circuit of a server is open for a while: commands that can do without the server skip
it. Any response, most often to an echo of the sweep, closes the circuit. Failures are counted in `ServerHealth` and are
advisory: no coin's state depends on them.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Final

from django.conf import settings
from django.db import connection
from django.utils import timezone

from lockers import transport
from lockers.models import ServerHealth
from lockers.raida.commands import Command
from lockers.raida.payloads import encode_empty
from lockers.raida.statuses import QUORUM, RAIDA_COUNT
from lockers.transport import Answer, Call, NoResponse
from wallets.sql_files import load

# A circuit opens after this many failures in a row, for 10 s, and twice as long after each further failure.
FAILURES_BEFORE_OPEN: Final = 3
_SHORTEST_SECONDS: Final = 10
_LONGEST_SECONDS: Final = 600
# With fewer closed circuits than these a single refusal could decide: then no server is skipped.
_CLOSED_ENOUGH: Final = QUORUM + 4


@dataclass(slots=True)
class Circuits:
    """The circuits as they were when a task began; the servers of `open` ones are skipped."""

    open: frozenset[int]
    _failing: set[int]

    @classmethod
    def load(cls) -> "Circuits":
        with connection.cursor() as cursor:
            cursor.execute("SELECT raida, rest_until FROM lockers_serverhealth")
            rows: list[tuple[int, datetime | None]] = cursor.fetchall()
        return cls(_skipped(rows), {raida for raida, _ in rows})

    def record(self, results: Mapping[int, Answer | NoResponse]) -> None:
        """Count failures, and close the circuits of servers that answered. A cancelled request is neither."""
        silent = {raida for raida, result in results.items() if _is_failure(result)}
        cancelled = {
            raida
            for raida, result in results.items()
            if isinstance(result, NoResponse) and result.reason == "cancelled"
        }
        answered = {raida for raida, result in results.items() if isinstance(result, Answer)} & self._failing
        if answered:
            ServerHealth.objects.filter(raida__in=answered).delete()
        if silent or cancelled - self._failing:
            _count_failures(silent, cancelled - self._failing)
        self._failing = (self._failing - answered) | silent | cancelled


def _skipped(rows: list[tuple[int, datetime | None]]) -> frozenset[int]:
    now = timezone.now()
    skipped = frozenset(raida for raida, rest_until in rows if rest_until is not None and rest_until > now)
    return skipped if RAIDA_COUNT - len(skipped) >= _CLOSED_ENOUGH else frozenset()


def too_many_open() -> bool:
    """Return whether fewer than 13 circuits are closed."""
    return ServerHealth.objects.filter(rest_until__gt=timezone.now()).count() > RAIDA_COUNT - QUORUM


def failing() -> list[ServerHealth]:
    """Return the servers whose last request failed, with the number of failures in a row."""
    return list(ServerHealth.objects.filter(silences__gt=0).order_by("raida"))


def _is_failure(result: Answer | NoResponse) -> bool:
    return isinstance(result, NoResponse) and result.reason != "cancelled"


def _count_failures(silent: set[int], suspected: set[int]) -> None:
    """Count in one statement, ordered by server, so that two workers cannot deadlock."""
    asked = sorted(silent | suspected)
    with connection.cursor() as cursor:
        cursor.execute(
            _COUNT,
            {
                "raidas": asked,
                "counts": [int(raida in silent) for raida in asked],
                "before_rest": FAILURES_BEFORE_OPEN,
                "shortest": _SHORTEST_SECONDS,
                "longest": _LONGEST_SECONDS,
            },
        )


_COUNT: Final = load("lockers", "count_silences")


def probe() -> None:
    """
    Send an echo to each server whose last request failed or was cancelled, unless its circuit is open.

    One worker at a time. The time for which a circuit is open doubles with each failure.
    """
    with connection.cursor() as cursor:
        # Another worker finds these rows locked, or probed a moment ago, and skips them.
        cursor.execute(
            "UPDATE lockers_serverhealth SET probed_at = now() WHERE raida = ANY (ARRAY("
            " SELECT raida FROM lockers_serverhealth WHERE (rest_until IS NULL OR rest_until < now())"
            " AND (probed_at IS NULL OR probed_at < now() - make_interval(secs => %s))"
            " ORDER BY raida FOR UPDATE SKIP LOCKED)) RETURNING raida",
            [_SHORTEST_SECONDS],
        )
        due = [row[0] for row in cursor.fetchall()]
    if not due:
        return
    circuits = Circuits.load()
    call = Call(command=Command.ECHO, payloads=dict.fromkeys(due, encode_empty()))
    circuits.record(
        transport.ask(
            transport.servers_from_settings(settings.RAIDA_HOSTS),
            call,
            until=transport.within(settings.RAIDA_TIMEOUT_SECONDS),
        )
    )
