"""
What workers write while a task runs: claims, leases, attempts and the marks of coins.

The fence: every function is one short transaction that begins by updating the task's row with the attempt number in the
WHERE clause. A worker whose task was taken over matches no row, writes nothing and stops (`TaskSuperseded`). No
function makes a network call.
"""

from collections.abc import Iterable, Mapping, Sequence, Set
from dataclasses import dataclass, field
from datetime import timedelta
from typing import Any, Final
from uuid import UUID

import psycopg
from django.conf import settings
from django.db import connection, transaction
from django.db.models.functions import Now

from lockers import vault
from lockers.errors import TaskSuperseded
from lockers.models import Attempt, Coin, LockerTask
from lockers.raida.coins import Coin as WireCoin
from lockers.raida.commands import Command
from lockers.raida.statuses import RAIDA_COUNT
from lockers.states import Mark, Step, TaskState
from lockers.worker.messages import CoinWork, Numbers

# Coins in one statement or request. A pown record has 37 bytes, a request at most 65,535. A batch with secrets stays
# below two megabytes.
BATCH_COINS = 1000


@dataclass(frozen=True, slots=True)
class Claim:
    """
    The right to work on a task, valid while the row has this attempt number.

    A function that takes a claim, or a run of a claimed task, raises TaskSuperseded if another worker has the task.
    """

    task_id: UUID
    attempt: int
    # The worker logs under this id.
    request_id: str = ""


def lease() -> timedelta:
    """
    Return how long a lease lasts after its last renewal.

    It is renewed every half second. It outlasts the timeout of a call that began with the last renewal, so that the
    previous worker sends nothing after a takeover.
    """
    return timedelta(seconds=settings.RAIDA_TIMEOUT_SECONDS + 3)


def time_for(coins: int) -> timedelta:
    """Return how long a task of `coins` coins may take: ten calls for each batch, each with its timeout, and 30 s."""
    calls = 10 * (1 + coins // BATCH_COINS)
    return timedelta(seconds=30 + calls * settings.RAIDA_TIMEOUT_SECONDS)


def is_long(coins: int) -> bool:
    """Return whether a task of this many coins counts as long (`lockers.fair_queue`)."""
    return coins > BATCH_COINS


def claim(*, task_id: UUID) -> Claim | None:
    """Claim the task by compare-and-swap; None if it is not open, is parked, or another worker has the lease."""
    with connection.cursor() as cursor:
        cursor.execute(
            "UPDATE lockers_lockertask SET attempt = attempt + 1, lease_until = now() + make_interval(secs => %s)"
            " WHERE id = %s AND state = %s AND (lease_until IS NULL OR lease_until < now()) AND NOT is_parked"
            " RETURNING attempt, request_id",
            [lease().total_seconds(), task_id, TaskState.RUNNING],
        )
        row = cursor.fetchone()
    return None if row is None else Claim(task_id, *row)


def overdue_tasks(*, limit: int = 100) -> list[UUID]:
    """Return open tasks without a lease for which no message was sent for 5 s, and note that one is sent now."""
    with connection.cursor() as cursor:
        cursor.execute(
            "UPDATE lockers_lockertask SET rung_at = now() WHERE id = ANY (ARRAY("
            " SELECT id FROM lockers_lockertask WHERE state = %s AND (lease_until IS NULL OR lease_until < now())"
            " AND NOT is_parked AND rung_at < now() - interval '5 seconds' ORDER BY rung_at LIMIT %s"
            " FOR NO KEY UPDATE SKIP LOCKED))"
            " RETURNING id",
            [TaskState.RUNNING, limit],
        )
        return [row[0] for row in cursor.fetchall()]


def fence(held: Claim, **changes: Any) -> None:
    """
    Renew the lease and lock the task's row until the caller's transaction ends.

    :raises TaskSuperseded: another worker has the task
    """
    mine = LockerTask.objects.filter(pk=held.task_id, attempt=held.attempt, state=TaskState.RUNNING)
    if not mine.update(lease_until=Now() + lease(), **changes):
        raise TaskSuperseded


def holds(held: Claim) -> bool:
    """Return whether the claim is still valid at this moment."""
    return LockerTask.objects.filter(pk=held.task_id, attempt=held.attempt, state=TaskState.RUNNING).exists()


def advance(*, held: Claim, step: Step | None = None, progress: int = 0, message: str | None = None) -> None:
    """
    Renew the lease, and set the step and the progress in percent, which only grows and stays below 100.

    `message` is shown to the user while the task runs; with "" the step is shown.
    """
    _in_one_statement(NEED_NOT_LAST, _NOTHING_MORE, held, step=step, progress=progress, message=message)


# Runs a statement with `synchronous_commit = off`. For what a later worker would find out again: if the database loses
# it, the marks are SENT as before, and the servers are asked. A later durable commit flushes it too. Never for a claim,
# whose number is the fence, nor for an intent.
NEED_NOT_LAST: Final = "SELECT set_config('synchronous_commit', 'off', true)"

_MUST_LAST: Final = "SELECT 1"

# The fence as a part of a larger statement, which changes rows only if `mine` has one.
_MINE: Final = """
WITH how AS MATERIALIZED ({how}), mine AS (
    UPDATE lockers_lockertask SET lease_until = now() + make_interval(secs => %(lease)s),
           progress = greatest(progress, least(%(progress)s, 99)), step = coalesce(%(step)s, step),
           message = coalesce(%(message)s, message)
      FROM how WHERE id = %(task)s AND attempt = %(attempt)s AND state = 'running' RETURNING id
)"""

_NOTHING_MORE: Final = " SELECT 1 FROM mine"


def _in_one_statement(
    how: str,
    then: str,
    held: Claim,
    *,
    step: Step | None = None,
    progress: int = 0,
    message: str | None = None,
    **values: Any,
) -> Any:
    """Run `then` in the same round trip as the fence, and return its row; `mine` is the task."""
    values |= {
        "lease": lease().total_seconds(),
        "progress": progress,
        "step": step,
        "message": message,
        "task": held.task_id,
        "attempt": held.attempt,
    }
    with connection.cursor() as cursor:
        cursor.execute(_MINE.format(how=how) + then, values)
        row = cursor.fetchone()
    if row is None:
        raise TaskSuperseded
    return row


def batches(*, task_id: UUID) -> list[int]:
    """Return the numbers of the task's batches in ascending order, without those of waiting claims."""
    with connection.cursor() as cursor:
        cursor.execute(
            "SELECT DISTINCT batch FROM lockers_coin WHERE task_id = %s AND state <> 'waiting' ORDER BY batch",
            [task_id],
        )
        return [batch for (batch,) in cursor.fetchall()]


def coins(*, task_id: UUID, batch: int, keys: Numbers | None, releasing: bool | None = None) -> list[CoinWork]:
    """
    Return a batch of the task's coins with their opened secrets.

    `keys` are the locker's, for a put: all its coins get the same new secret. With `releasing`, only coins that are, or
    are not, being released.
    """
    return [
        CoinWork(
            coin_id=coin_id,
            coin=WireCoin(denomination, serial_number),
            pown=pown,
            marks=outcome,
            old=vault.open_numbers(held, coin_id=coin_id),
            new=vault.open_numbers(proposed or b"", coin_id=coin_id) if keys is None else keys,
            releasing=is_releasing,
        )
        for coin_id, denomination, serial_number, pown, outcome, is_releasing, held, proposed in _rows_in_binary(
            _COINS,
            {"task": task_id, "batch": batch, "without_proposed": keys is not None, "releasing": releasing},
        )
    ]


def coin_of_row(
    row: Coin, *, old: Numbers | None = None, new: Numbers | None = None, marks: str = Mark.UNASKED * RAIDA_COUNT
) -> CoinWork:
    """Return the coin of a row. `old` are the numbers in `secrets` unless given, and `new` are `old` unless given."""
    old = old or vault.open_numbers(row.secrets, coin_id=row.pk)
    identity = WireCoin(row.denomination, row.serial_number)
    return CoinWork(row.pk, identity, row.pown, marks, old, new or old, releasing=row.releasing)


_COINS: Final = """
SELECT id, denomination, serial_number, pown, outcome, releasing, secrets,
       CASE WHEN %(without_proposed)s THEN NULL ELSE proposed END
  FROM lockers_coin
 WHERE task_id = %(task)s AND batch = %(batch)s AND releasing = coalesce(%(releasing)s, releasing) ORDER BY id
"""


def _rows_in_binary(statement: str, values: Mapping[str, Any]) -> list[tuple[Any, ...]]:
    """Return rows in the binary format: sent as text, sealed numbers take longer to parse than to decrypt."""
    connection.ensure_connection()
    with connection.wrap_database_errors, psycopg.Cursor(connection.connection) as cursor:
        cursor.execute(statement, values, binary=True)
        return cursor.fetchall()


@dataclass(frozen=True, slots=True)
class Settled:
    """The outcome of an attempt: a code for each server, and one mark per server for all its coins, or ""."""

    attempt_id: int
    answers: Mapping[int, int]
    covering: str


@dataclass(frozen=True, slots=True)
class Intent:
    """
    A command that is about to be sent to the servers `asked`.

    `marks` are the new marks of coins: what the command may change is unknown from here on. `covering` is one mark per
    server for all coins of the batch (see `models.Attempt`).
    """

    command: Command
    batch: int
    asked: Iterable[int]
    marks: Mapping[UUID, str] = field(default_factory=dict)
    covering: str = ""


def open_attempt(
    *, held: Claim, intent: Intent, settled: Sequence[Settled] = (), step: Step | None = None, progress: int = 0
) -> int:
    """
    Commit an intent, before the first byte of its command is sent, and return the id of the attempt's row.

    `settled` are earlier attempts that are settled in the same statement; `step` and `progress` are as in `advance`.
    """
    targets = set(intent.asked)
    row = _in_one_statement(
        _MUST_LAST,
        _SETTLED + _MARKED + _OPENED,
        held,
        step=step,
        progress=progress,
        command=intent.command.name,
        batch=intent.batch,
        asked=[Attempt.Unanswered.SENT.value if raida in targets else None for raida in range(RAIDA_COUNT)],
        covering=intent.covering,
        **_settled_columns(settled),
        **_marks_columns(intent.marks),
    )
    return int(row[0])


_SETTLED: Final = """, settled AS (
    UPDATE lockers_attempt SET settled_at = now(), covering = new.covering, answers = new.answers::smallint[]
      FROM mine, unnest(%(attempts)s::bigint[], %(told)s::text[], %(coverings)s::text[]) AS new (id, answers, covering)
     WHERE lockers_attempt.id = new.id AND lockers_attempt.task_id = mine.id
)"""

_MARKED: Final = """, marked AS (
    UPDATE lockers_coin SET outcome = new.outcome
      FROM mine, unnest(%(coins)s::uuid[], %(marks)s::text[]) AS new (id, outcome)
     WHERE lockers_coin.id = new.id AND lockers_coin.task_id = mine.id
)"""

_OPENED: Final = """
INSERT INTO lockers_attempt (task_id, ordinal, number, command, batch, answers, covering)
SELECT id, (SELECT count(*) FROM lockers_attempt WHERE task_id = %(task)s), %(attempt)s, %(command)s, %(batch)s,
       %(asked)s, %(covering)s
  FROM mine RETURNING id
"""


def _settled_columns(settled: Sequence[Settled]) -> dict[str, Any]:
    return {
        "attempts": [one.attempt_id for one in settled],
        # As text: unnest would flatten an array of two dimensions.
        "told": [_array([one.answers.get(raida) for raida in range(RAIDA_COUNT)]) for one in settled],
        "coverings": [one.covering for one in settled],
    }


def _array(codes: Sequence[int | None]) -> str:
    return f"{{{','.join('NULL' if code is None else str(code) for code in codes)}}}"


def _marks_columns(marks: Mapping[UUID, str]) -> dict[str, Any]:
    return {"coins": list(marks), "marks": list(marks.values())}


def note_answers(*, held: Claim, attempt_id: int, answers: Mapping[int, int], progress: int) -> None:
    """Show answers while the call is in flight; no mark changes."""
    _in_one_statement(
        NEED_NOT_LAST,
        _NOTED + _NOTHING_MORE,
        held,
        progress=progress,
        noted=attempt_id,
        news=[answers.get(raida) for raida in range(RAIDA_COUNT)],
    )


_NOTED: Final = """, noted AS (
    UPDATE lockers_attempt SET answers = (
            SELECT array_agg(coalesce(news, known) ORDER BY position)
              FROM unnest(answers, %(news)s::smallint[]) WITH ORDINALITY AS each (known, news, position))
      FROM mine WHERE lockers_attempt.id = %(noted)s
)"""


def settle(*, held: Claim, settled: Sequence[Settled], marks: Mapping[UUID, str], is_durable: bool = False) -> None:
    """
    Commit what each server said, and the marks of the coins.

    With `is_durable` the commit waits for the disk.
    """
    _in_one_statement(
        _MUST_LAST if is_durable else NEED_NOT_LAST,
        _SETTLED + _MARKED + _NOTHING_MORE,
        held,
        **_settled_columns(settled),
        **_marks_columns(marks),
    )


def write_marks(*, held: Claim) -> None:
    """Write the marks that are recorded in attempts alone into the coins' rows."""
    with transaction.atomic():
        fence(held)
        of_batches = said(attempts(held.task_id))
        marks = {
            coin_id: covered(outcome, pown, of_batches[batch])
            for batch in of_batches
            for coin_id, outcome, pown in Coin.objects.filter(task_id=held.task_id, batch=batch).values_list(
                "id", "outcome", "pown"
            )
        }
        _update_marks(held.task_id, marks)
        Attempt.objects.filter(task_id=held.task_id).exclude(covering="").update(covering="")


# Of an attempt: batch, command, covering, answers.
Attempted = tuple[int, str, str, Sequence[int | None]]

# For each batch the marks that attempts record for all its coins, in order: (command, marks).
Said = Mapping[int, Sequence[tuple[str, str]]]


def said(recorded: Sequence[Attempted]) -> Said:
    found: dict[int, list[tuple[str, str]]] = {}
    for batch, command, covering, _ in recorded:
        if covering:
            found.setdefault(batch, []).append((command, covering))
    return found


def attempts(task_id: UUID) -> list[Attempted]:
    with connection.cursor() as cursor:
        cursor.execute(
            "SELECT batch, command, covering, answers FROM lockers_attempt WHERE task_id = %s"
            "   AND (covering <> '' OR command = ANY(%s)) ORDER BY ordinal",
            [task_id, _MOVING],
        )
        found: list[Attempted] = cursor.fetchall()
    return found


_MOVING: Final = [Command.PUT.name, Command.POWN.name, Command.REMOVE.name]


def not_waited_for(recorded: Sequence[Attempted]) -> Mapping[int, Set[int]]:
    """Return, per batch, the servers that had not answered the last moving command when 13 servers decided."""
    latest: dict[int, dict[int, int]] = {}
    for batch, command, _, answers in recorded:
        if command in _MOVING:
            asked = {raida: code for raida, code in enumerate(answers) if code is not None}
            latest[batch] = latest.get(batch, {}) | asked
    return {
        batch: awaited
        for batch, answers in latest.items()
        if (awaited := {raida for raida, code in answers.items() if code == Attempt.Unanswered.AWAITED})
    }


def covered(marks: str, pown: str, said: Sequence[tuple[str, str]]) -> str:
    """
    Return a coin's marks together with those that attempts record for all coins of its batch.

    These apply where the server had not been asked about the coin; a put's only where the server accepts the coin.
    """
    for command, covering in said:
        is_put = command == Command.PUT.name
        marks = "".join(
            new if mark == Mark.UNASKED and (not is_put or known == "p") else mark
            for mark, known, new in zip(marks, pown, covering, strict=True)
        )
    return marks


def _update_marks(task_id: UUID, marks: Mapping[UUID, str]) -> None:
    if not marks:
        return
    with connection.cursor() as cursor:
        cursor.execute(
            "UPDATE lockers_coin SET outcome = new.outcome"
            " FROM unnest(%s::uuid[], %s::text[]) AS new(id, outcome)"
            " WHERE lockers_coin.id = new.id AND lockers_coin.task_id = %s",
            [list(marks), list(marks.values()), task_id],
        )
