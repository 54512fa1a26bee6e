"""
Which servers have been silent again and again, as a hint for all workers.

Nothing is decided by it: a server that rests is left out where others are enough, and each
rest ends. The first answer of any kind, most often to an echo of the sweep, makes it as good as new.
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

# A server rests after this many silences one after the other ...
SILENCES_BEFORE_REST: Final = 3
# ... for so long, and twice as long after each further one.
_SHORTEST_REST_SECONDS: Final = 10
_LONGEST_REST_SECONDS: Final = 600
# With fewer servers than these awake a single refusal could decide: then all are asked.
_AWAKE_ENOUGH: Final = QUORUM + 4


@dataclass(slots=True)
class Board:
    """What was known of the servers when a task began; `resting` are those to be left out."""

    resting: frozenset[int]
    _ailing: set[int]

    @classmethod
    def load(cls) -> "Board":
        with connection.cursor() as cursor:
            cursor.execute("SELECT raida, rest_until FROM lockers_serverhealth")
            rows: list[tuple[int, datetime | None]] = cursor.fetchall()
        return cls(_left_out(rows), {raida for raida, _ in rows})

    def note(self, results: Mapping[int, Answer | NoResponse]) -> None:
        """Remember who answered and who was silent. One that was given up on was neither."""
        silent = {raida for raida, result in results.items() if _is_silent(result)}
        given_up = {
            raida
            for raida, result in results.items()
            if isinstance(result, NoResponse) and result.reason == "cancelled"
        }
        well = {raida for raida, result in results.items() if isinstance(result, Answer)} & self._ailing
        if well:
            ServerHealth.objects.filter(raida__in=well).delete()
        if silent or given_up - self._ailing:
            _count_silences(silent, given_up - self._ailing)
        self._ailing = (self._ailing - well) | silent | given_up


def _left_out(rows: list[tuple[int, datetime | None]]) -> frozenset[int]:
    now = timezone.now()
    resting = frozenset(raida for raida, rest_until in rows if rest_until is not None and rest_until > now)
    return resting if RAIDA_COUNT - len(resting) >= _AWAKE_ENOUGH else frozenset()


def too_many_rest() -> bool:
    """Whether so many servers have been silent again and again that the others are fewer than 13."""
    return ServerHealth.objects.filter(rest_until__gt=timezone.now()).count() > RAIDA_COUNT - QUORUM


def _is_silent(result: Answer | NoResponse) -> bool:
    return isinstance(result, NoResponse) and result.reason != "cancelled"


def _count_silences(silent: set[int], suspected: set[int]) -> None:
    """In one statement and in one order, so that two workers wait for each other and never in a circle."""
    asked = sorted(silent | suspected)
    with connection.cursor() as cursor:
        cursor.execute(
            _COUNT,
            {
                "raidas": asked,
                "counts": [int(raida in silent) for raida in asked],
                "before_rest": SILENCES_BEFORE_REST,
                "shortest": _SHORTEST_REST_SECONDS,
                "longest": _LONGEST_REST_SECONDS,
            },
        )


# A hint that is lost with a machine costs a worker one more wait: nobody waits for the disk.
_COUNT: Final = """
WITH how AS MATERIALIZED (SELECT set_config('synchronous_commit', 'off', true))
INSERT INTO lockers_serverhealth AS known (raida, silences, silent_since)
SELECT raida, silent, now() FROM how, unnest(%(raidas)s::smallint[], %(counts)s::int[]) AS news(raida, silent)
 ORDER BY raida
ON CONFLICT (raida) DO UPDATE SET
    silences = known.silences + EXCLUDED.silences,
    rest_until = CASE
        WHEN EXCLUDED.silences > 0 AND known.silences + EXCLUDED.silences >= %(before_rest)s
        THEN now() + make_interval(secs => least(
            %(longest)s, %(shortest)s * 2.0 ^ least(known.silences + EXCLUDED.silences - %(before_rest)s, 20)))
        ELSE known.rest_until END
"""


def probe() -> None:
    """
    Send an echo to each server that was given up on or fell silent, unless it rests.

    One worker at a time; the rest doubles with each silence, so a dead server costs little.
    """
    with connection.cursor() as cursor:
        # Whoever comes while this one is out finds nothing to do.
        cursor.execute(
            "UPDATE lockers_serverhealth SET probed_at = now() WHERE raida IN ("
            " SELECT raida FROM lockers_serverhealth WHERE (rest_until IS NULL OR rest_until < now())"
            " AND (probed_at IS NULL OR probed_at < now() - make_interval(secs => %s))"
            " ORDER BY raida FOR UPDATE SKIP LOCKED) RETURNING raida",
            [_SHORTEST_REST_SECONDS],
        )
        due = [row[0] for row in cursor.fetchall()]
    if not due:
        return
    board = Board.load()
    call = Call(command=Command.ECHO, payloads=dict.fromkeys(due, encode_empty()))
    board.note(
        transport.ask(
            transport.servers_from_settings(settings.RAIDA_HOSTS),
            call,
            until=transport.within(settings.RAIDA_TIMEOUT_SECONDS),
        )
    )


@dataclass(frozen=True, slots=True)
class Ailing:
    """A server that has been silent lately: how often in a row, since when, and how long it is spared."""

    raida: int
    silences: int
    silent_since: datetime
    rest_until: datetime | None


def ailing() -> list[Ailing]:
    return [
        Ailing(row.raida, row.silences, row.silent_since, row.rest_until)
        for row in ServerHealth.objects.filter(silences__gt=0).order_by("raida")
    ]
