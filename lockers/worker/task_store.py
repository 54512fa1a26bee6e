"""
What workers write: claims, leases, attempts, and the outcome of a task.

Every function is one short transaction that begins by touching the task's row with the attempt
number in the WHERE. A worker whose lease was taken over finds no such row, writes nothing and
stops (`TaskSuperseded`). No network call ever happens in here.

Lock order: the task, its coins, coins of other wallets that the same task proves gone, earlier tasks that left some
of its coins open, lockers, accounts.
"""

import json
import logging
from collections.abc import Callable, Iterable, Mapping, Sequence, Set
from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta
from secrets import token_hex
from typing import Any, Final, NamedTuple
from uuid import UUID, uuid4

import psycopg
from django.conf import settings
from django.db import IntegrityError, connection, transaction
from django.db.models import F, QuerySet
from django.db.models.functions import Greatest, Now
from django.utils import timezone

from lockers import (
    account_ledger,
    coin_breaks,
    coin_outcomes,
    coin_secrets,
    coin_selection,
    competing_claims,
    current_results,
    delivery,
    server_letters,
    task_results,
)
from lockers.competing_claims import Arrivals
from lockers.errors import TaskSuperseded
from lockers.models import Attempt, Coin, Locker, LockerTask, Upload
from lockers.raida import codes
from lockers.raida.coins import Coin as WireCoin
from lockers.raida.commands import Command
from lockers.raida.statuses import RAIDA_COUNT
from lockers.states import DOUBTFUL, SPENDABLE, CoinState, LineType, Mark, Step, TaskKind, TaskState, may_have_been
from lockers.task_results import Tally
from lockers.worker import late_answers
from lockers.worker.messages import CoinWork, Numbers

_log = logging.getLogger(__name__)

# How many coins one piece of SQL or one request carries. A pown record has 37 bytes and a
# request at most 65,535; a thousand also keeps a batch with its secrets below two megabytes.
BATCH_COINS = 1000


@dataclass(frozen=True, slots=True)
class Claim:
    """The right to work on a task: good while the row's attempt number is still this one."""

    task_id: UUID
    attempt: int
    # Under which the worker logs.
    request_id: str = ""


def lease() -> timedelta:
    """
    How long a worker may be silent before another takes over.

    It is renewed every half second. It outlasts the deadline of a call that began with the last
    renewal, so that whoever takes over finds no packet that its predecessor has yet to send.
    """
    return timedelta(seconds=settings.RAIDA_TIMEOUT_SECONDS + 3)


def time_for(coins: int) -> timedelta:
    """How long a task may take: every batch is a handful of calls, each of which ends by a deadline of its own."""
    calls = 10 * (1 + coins // BATCH_COINS)
    return timedelta(seconds=30 + calls * settings.RAIDA_TIMEOUT_SECONDS)


def is_long(coins: int) -> bool:
    """Whether a task of so many coins occupies a worker for longer than others should have to wait."""
    return coins > BATCH_COINS


def claim(*, task_id: UUID) -> Claim | None:
    """Take the task over, if it is open and nobody's lease holds it. Compare-and-swap: one of many wins."""
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
    """Return open tasks that nobody works on and that nobody was told about in the last seconds, and note a ring."""
    with connection.cursor() as cursor:
        cursor.execute(
            "UPDATE lockers_lockertask SET rung_at = now() WHERE id IN ("
            " SELECT id FROM lockers_lockertask WHERE state = %s AND (lease_until IS NULL OR lease_until < now())"
            " AND NOT is_parked AND rung_at < now() - interval '5 seconds' ORDER BY rung_at LIMIT %s"
            " FOR NO KEY UPDATE SKIP LOCKED)"
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
    """Whether nobody has taken the task over and ended it, at this moment."""
    return LockerTask.objects.filter(pk=held.task_id, attempt=held.attempt, state=TaskState.RUNNING).exists()


def advance(*, held: Claim, step: Step | None = None, progress: int = 0, message: str | None = None) -> None:
    """
    Renew the lease and note where the task stands. Progress only grows, and stays below 100.

    `message` is what the user is told while the task runs; "" leaves it to the step.

    :raises TaskSuperseded: another worker has the task
    """
    _in_one_statement(_NEED_NOT_LAST, _NOTHING_MORE, held, step=step, progress=progress, message=message)


# Lets the commit of the statement that it stands in return before it is on disk. For what a worker that goes on
# would find out again: if the database loses it, the marks say SENT as before, and the servers are asked. Whatever is
# committed later brings it to the disk first. Never for a claim, whose number fences, nor for an intent.
_NEED_NOT_LAST: Final = "SELECT set_config('synchronous_commit', 'off', true)"
_MUST_LAST: Final = "SELECT 1"
# The fence as a part of a larger statement, which changes something only where there is a row in `mine`.
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
    """
    Do what `then` says of the task in `mine`, in one trip with the fence, and return its row.

    :raises TaskSuperseded: another worker has the task
    """
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
    """Return the numbers of the task's batches, those of waiting claims not counted."""
    with connection.cursor() as cursor:
        cursor.execute(
            "SELECT DISTINCT batch FROM lockers_coin WHERE task_id = %s AND state <> 'waiting' ORDER BY batch",
            [task_id],
        )
        return [batch for (batch,) in cursor.fetchall()]


def is_quiet(*, task_id: UUID, batch: int) -> bool:
    """
    Whether so much time has passed since the coins went to limbo that nothing sent before can still arrive.

    Servers work through their requests in order; two deadlines are ample for one that was slow.
    """
    quiet = timedelta(seconds=2 * settings.RAIDA_TIMEOUT_SECONDS)
    return not Coin.objects.filter(task_id=task_id, batch=batch, changed_at__gt=Now() - quiet).exists()


def pieces(*, task_id: UUID, batch: int, keys: Numbers | None, releasing: bool | None = None) -> list[CoinWork]:
    """
    Return a batch of the task's coins with their opened secrets.

    `keys` are the locker's, for a put: there the new secret is the same for all coins. With
    `releasing` only coins that are, or are not, being released.
    """
    return [
        CoinWork(
            coin_id=coin_id,
            coin=WireCoin(denomination, serial_number),
            pown=pown,
            marks=outcome,
            old=coin_secrets.open_numbers(held, coin_id=coin_id),
            new=coin_secrets.open_numbers(proposed or b"", coin_id=coin_id) if keys is None else keys,
            releasing=is_releasing,
        )
        for coin_id, denomination, serial_number, pown, outcome, is_releasing, held, proposed in _rows_in_binary(
            _PIECES,
            {"task": task_id, "batch": batch, "without_proposed": keys is not None, "releasing": releasing},
        )
    ]


_PIECES: Final = """
SELECT id, denomination, serial_number, pown, outcome, releasing, secrets,
       CASE WHEN %(without_proposed)s THEN NULL ELSE proposed END
  FROM lockers_coin
 WHERE task_id = %(task)s AND batch = %(batch)s AND releasing = coalesce(%(releasing)s, releasing) ORDER BY id
"""


def _rows_in_binary(statement: str, values: Mapping[str, Any]) -> list[tuple[Any, ...]]:
    """Rows with their bytes as they are: as text, and by way of models, sealed numbers cost more than to open them."""
    connection.ensure_connection()
    with connection.wrap_database_errors, psycopg.Cursor(connection.connection) as cursor:
        cursor.execute(statement, values, binary=True)
        return cursor.fetchall()


@dataclass(frozen=True, slots=True)
class Settled:
    """What an attempt came to: a code for each server, and what that makes of all coins it covered."""

    attempt_id: int
    answers: Mapping[int, int]
    covering: str


def open_attempt(
    *,
    held: Claim,
    command: Command,
    batch: int,
    asked: Iterable[int],
    marks: Mapping[UUID, str],
    covering: str = "",
    settled: Sequence[Settled] = (),
    step: Step | None = None,
    progress: int = 0,
) -> int:
    """
    Commit that a command is about to be sent, before its first byte, and return the attempt row's id.

    `marks` are the coins' new marks: whatever a command may change is unknown from here on. `covering` says the same
    of all coins of the batch at once (see `models.Attempt`). `settled` are attempts before this one that are to be
    settled with it; `step` and `progress` are where the task stands then, as in `advance`.

    :raises TaskSuperseded: another worker has the task
    """
    targets = set(asked)
    row = _in_one_statement(
        _MUST_LAST,
        _SETTLED + _MARKED + _OPENED,
        held,
        step=step,
        progress=progress,
        command=command.name,
        batch=batch,
        asked=[Attempt.Unanswered.SENT.value if raida in targets else None for raida in range(RAIDA_COUNT)],
        covering=covering,
        **_settled_columns(settled),
        **_marks_columns(marks),
    )
    return int(row[0])


_SETTLED: Final = """, settled AS (
    UPDATE lockers_attempt SET settled_at = now(), covering = news.covering, answers = news.answers::smallint[]
      FROM mine, unnest(%(attempts)s::bigint[], %(told)s::text[], %(coverings)s::text[]) AS news (id, answers, covering)
     WHERE lockers_attempt.id = news.id AND lockers_attempt.task_id = mine.id
)"""
_MARKED: Final = """, marked AS (
    UPDATE lockers_coin SET outcome = news.outcome
      FROM mine, unnest(%(coins)s::uuid[], %(marks)s::text[]) AS news (id, outcome)
     WHERE lockers_coin.id = news.id AND lockers_coin.task_id = mine.id
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
        # Arrays of one length could go as one of two dimensions, which unnest would take apart altogether.
        "told": [_array([one.answers.get(raida) for raida in range(RAIDA_COUNT)]) for one in settled],
        "coverings": [one.covering for one in settled],
    }


def _array(codes: Sequence[int | None]) -> str:
    return f"{{{','.join('NULL' if code is None else str(code) for code in codes)}}}"


def _marks_columns(marks: Mapping[UUID, str]) -> dict[str, Any]:
    return {"coins": list(marks), "marks": list(marks.values())}


def note_answers(*, held: Claim, attempt_id: int, answers: Mapping[int, int], progress: int) -> None:
    """
    Show answers while others are still out. Nothing is decided by them.

    :raises TaskSuperseded: another worker has the task
    """
    _in_one_statement(
        _NEED_NOT_LAST,
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


def settle(*, held: Claim, settled: Sequence[Settled], marks: Mapping[UUID, str]) -> None:
    """
    Commit what each server said and what follows for each coin.

    :raises TaskSuperseded: another worker has the task
    """
    _in_one_statement(
        _NEED_NOT_LAST,
        _SETTLED + _MARKED + _NOTHING_MORE,
        held,
        **_settled_columns(settled),
        **_marks_columns(marks),
    )


def write_down(*, held: Claim) -> None:
    """
    Write into the coins' marks what attempts only say of all their coins at once.

    :raises TaskSuperseded: another worker has the task
    """
    with transaction.atomic():
        fence(held)
        said = _said(_attempts(held.task_id))
        marks = {
            coin_id: covered(outcome, pown, said[batch])
            for batch in said
            for coin_id, outcome, pown in Coin.objects.filter(task_id=held.task_id, batch=batch).values_list(
                "id", "outcome", "pown"
            )
        }
        _write_marks(held.task_id, marks)
        Attempt.objects.filter(task_id=held.task_id).exclude(covering="").update(covering="")


# Of an attempt: batch, command, covering, answers.
_Attempted = tuple[int, str, str, Sequence[int | None]]
# For each batch what attempts say of all its coins, in the order in which they were made: (command, marks).
Said = Mapping[int, Sequence[tuple[str, str]]]


def _said(attempts: Sequence[_Attempted]) -> Said:
    said: dict[int, list[tuple[str, str]]] = {}
    for batch, command, covering, _ in attempts:
        if covering:
            said.setdefault(batch, []).append((command, covering))
    return said


def _attempts(task_id: UUID) -> list[_Attempted]:
    with connection.cursor() as cursor:
        cursor.execute(
            "SELECT batch, command, covering, answers FROM lockers_attempt WHERE task_id = %s"
            "   AND (covering <> '' OR command = ANY(%s)) ORDER BY ordinal",
            [task_id, _MOVING],
        )
        found: list[_Attempted] = cursor.fetchall()
    return found


_MOVING: Final = [Command.PUT.name, Command.POWN.name, Command.REMOVE.name]


def _not_waited_for(attempts: Sequence[_Attempted]) -> Mapping[int, Set[int]]:
    """Return for each batch the servers whose answer to the last command that moved its coins was not waited for."""
    latest: dict[int, dict[int, int]] = {}
    for batch, command, _, answers in attempts:
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
    Return a coin's marks with what attempts say of all coins of its batch.

    They speak of those that the server had not been asked about, and a put only of those that it was known to accept.
    """
    for command, covering in said:
        is_put = command == Command.PUT.name
        marks = "".join(
            new if mark == Mark.UNASKED and (not is_put or known == "p") else mark
            for mark, known, new in zip(marks, pown, covering, strict=True)
        )
    return marks


def _write_marks(task_id: UUID, marks: Mapping[UUID, str]) -> None:
    if not marks:
        return
    with connection.cursor() as cursor:
        cursor.execute(
            "UPDATE lockers_coin SET outcome = new.outcome"
            " FROM unnest(%s::uuid[], %s::text[]) AS new(id, outcome)"
            " WHERE lockers_coin.id = new.id AND lockers_coin.task_id = %s",
            [list(marks), list(marks.values()), task_id],
        )


def place_fresh_numbers(
    *,
    held: Claim,
    holders: Mapping[UUID, Sequence[bytes]],
    plan: dict[str, Any],
    aside: Sequence[UUID] = (),
    aside_batch: int = 0,
) -> None:
    """
    Replace both secrets of coins: the old ones by `holders`, the proposed ones by fresh numbers.

    Coins that stand `aside` go as they are into a batch of their own.

    :raises TaskSuperseded: another worker has the task
    """
    with transaction.atomic():
        fence(held, plan=plan)
        if aside:
            Coin.objects.filter(pk__in=aside, task_id=held.task_id).update(batch=aside_batch)
        _write_secrets(
            {
                coin_id: (
                    coin_secrets.seal_numbers(numbers, coin_id=coin_id),
                    coin_secrets.seal_numbers(coin_secrets.fresh_numbers(), coin_id=coin_id),
                )
                for coin_id, numbers in holders.items()
            }
        )


def left_out(*, task_id: UUID, batches: Sequence[int]) -> tuple[int, list[dict[str, int]]]:
    """Return how many coins are in these batches, and the identities of the first hundred, as a result tells them."""
    rows = Coin.objects.filter(task_id=task_id, batch__in=batches).order_by("-denomination", "serial_number")
    return rows.count(), [
        {"sn": number, "denomination": denomination}
        for denomination, number in rows.values_list("denomination", "serial_number")[:100]
    ]


def _write_secrets(numbers: Mapping[UUID, tuple[bytes, bytes | None]]) -> None:
    with connection.cursor() as cursor:
        cursor.execute(
            "UPDATE lockers_coin SET secrets = new.secrets, proposed = new.proposed"
            " FROM unnest(%s::uuid[], %s::bytea[], %s::bytea[]) AS new(id, secrets, proposed)"
            " WHERE lockers_coin.id = new.id",
            [list(numbers), [pair[0] for pair in numbers.values()], [pair[1] for pair in numbers.values()]],
        )


def proposed_numbers(*, task_id: UUID, batch: int) -> dict[UUID, Sequence[bytes]]:
    """Return the numbers that were once proposed for coins of a batch, for those that have any."""
    rows = Coin.objects.filter(task_id=task_id, batch=batch, proposed__isnull=False).values_list("id", "proposed")
    return {coin_id: coin_secrets.open_numbers(proposed or b"", coin_id=coin_id) for coin_id, proposed in rows}


def adopt(*, held: Claim, pieces: Sequence[CoinWork]) -> None:
    """
    Commit that servers hold the old numbers that the pieces have now, as their `pown` says.

    :raises TaskSuperseded: another worker has the task
    """
    with transaction.atomic():
        fence(held)
        with connection.cursor() as cursor:
            cursor.execute(
                "UPDATE lockers_coin SET secrets = new.secrets, pown = new.pown,"
                # What was proposed is of use as long as it is not known of some server which number it holds.
                "       proposed = CASE WHEN strpos(new.pown, 'n') > 0 THEN proposed END"
                "  FROM unnest(%s::uuid[], %s::bytea[], %s::text[]) AS new(id, secrets, pown)"
                " WHERE lockers_coin.id = new.id AND lockers_coin.task_id = %s",
                [
                    [piece.coin_id for piece in pieces],
                    [coin_secrets.seal_numbers(piece.old, coin_id=piece.coin_id) for piece in pieces],
                    [piece.pown for piece in pieces],
                    held.task_id,
                ],
            )


def begin_release(*, held: Claim, coin_ids: Sequence[UUID]) -> None:
    """
    Commit that coins shall get fresh numbers before they are let go, in the place of those that were proposed.

    :raises TaskSuperseded: another worker has the task
    """
    with transaction.atomic():
        fence(held)
        rows = Coin.objects.filter(pk__in=coin_ids, task_id=held.task_id, releasing=False)
        for row in rows.select_for_update(no_key=True, of=("self",)).order_by("id"):
            row.proposed = coin_secrets.seal_numbers(coin_secrets.fresh_numbers(), coin_id=row.pk)
            row.releasing = True
            row.outcome = Mark.UNASKED * RAIDA_COUNT
            row.save(update_fields=["proposed", "releasing", "outcome"])


# One ticket vouches for all coins of a batch, and a server keeps few tickets and a few thousand coins in them.
FIX_COINS: Final = 500
_FIX_BATCHES: Final = 10


def free_to_heal(*, wallet_id: UUID) -> list[UUID]:
    """Lock free coins of a wallet that some servers do not accept, as many as one fix heals, and return their ids."""
    return list(
        Coin.objects.filter(wallet_id=wallet_id, state__in=SPENDABLE, task=None, passes__lt=RAIDA_COUNT)
        .order_by("changed_at", "id")
        .select_for_update(no_key=True, skip_locked=True, of=("self",))
        .values_list("id", flat=True)[: FIX_COINS * _FIX_BATCHES]
    )


def reserve_coins_to_heal(*, task_id: UUID, coin_ids: Sequence[UUID], first_batch: int = 0) -> None:
    """Give locked coins to a fix, in batches."""
    for start in range(0, len(coin_ids), FIX_COINS):
        Coin.objects.filter(pk__in=coin_ids[start : start + FIX_COINS]).update(
            task=task_id, batch=first_batch + start // FIX_COINS, outcome=Mark.UNASKED * RAIDA_COUNT
        )


def reserve_to_heal(*, held: Claim) -> None:
    """
    Give a fix the free coins of its wallet too of which it has learnt that some servers do not accept them.

    :raises TaskSuperseded: another worker has the task
    """
    with transaction.atomic():
        fence(held)
        task = LockerTask.objects.get(pk=held.task_id)
        known = batches(task_id=task.pk)
        room = FIX_COINS * _FIX_BATCHES - Coin.objects.filter(task=task).count()
        coin_ids = free_to_heal(wallet_id=task.wallet_id)[: max(room, 0)]
        reserve_coins_to_heal(task_id=task.pk, coin_ids=coin_ids, first_batch=known[-1] + 1 if known else 0)
        # What was looked at needs no second look by whoever takes over.
        LockerTask.objects.filter(pk=task.pk).update(plan=task.plan | {"looks": False})


def reserve_listed(
    *, held: Claim, wallet_id: UUID, coins: Sequence[WireCoin], keys: Sequence[bytes], spelling: int | None = None
) -> tuple[dict[int, list[CoinWork]], Arrivals]:
    """
    Save coins that a peek listed, with the locker's keys and fresh numbers, before the first remove.

    Coins that somebody in this ledger holds are left out: a server's list may be stale, and a remove would then take
    them from their owner. Those to which another claim is open wait. Returns the first batch of which any were saved,
    as `pieces` would, under its number, and what became of all coins. A task for which nothing but waiting is left
    is parked. `spelling` is the number of the candidate code that opened the locker, if it is not the code as typed.

    :raises TaskSuperseded: another worker has the task
    """
    first: dict[int, list[CoinWork]] = {}
    arrivals = Arrivals()
    listed = sorted(coins)
    with transaction.atomic():
        with connection.cursor() as cursor:
            # The attempt that is opened before the first remove brings it to the disk.
            cursor.execute(_NEED_NOT_LAST)
        # How long it may take is known now only.
        fence(held, step=Step.SENDING, deadline=Now() + time_for(len(listed)), is_long=is_long(len(listed)))
        for start in range(0, len(listed), BATCH_COINS):
            batch = start // BATCH_COINS
            incoming = [
                (coin, tuple(keys), coin_secrets.fresh_numbers()) for coin in listed[start : start + BATCH_COINS]
            ]
            came = insert_incoming(
                task_id=held.task_id, wallet_id=wallet_id, origin=TaskKind.TAKE, coins=incoming, first_batch=batch
            )
            arrivals.add(came)
            if came.saved and not first:
                first[batch] = [
                    CoinWork(came.saved[coin], coin, "u" * RAIDA_COUNT, Mark.UNASKED * RAIDA_COUNT, old, new)
                    for coin, old, new in incoming
                    if coin in came.saved
                ]
        left = sum(coin.value for coin in arrivals.held | arrivals.busy)
        if left:
            _note_left(held.task_id, left)
        if spelling is not None:
            LockerTask.objects.filter(pk=held.task_id).update(result={"spelling": spelling})
        if arrivals.waiting and not arrivals.saved:
            _park(held, len(listed))
    return first, arrivals


def insert_incoming(
    *,
    task_id: UUID,
    wallet_id: UUID,
    origin: TaskKind,
    coins: Sequence[competing_claims.Claimed],
    first_batch: int = 0,
    waiting_batch: int = competing_claims.WAITING_BATCH,
) -> Arrivals:
    """
    Save claims to coins (identity, old numbers, new numbers) for a task; the caller has a transaction.

    A coin that is held in this ledger already is left out; one with another open claim waits
    (`lockers.competing_claims`).
    """
    # In one order everywhere: two imports that share coins then wait for each other, and never in a circle.
    coins = sorted(coins, key=lambda one: one[0])
    arrivals = Arrivals()
    for start in range(0, len(coins), BATCH_COINS):
        arrivals.add(
            competing_claims.claim(
                task_id=task_id,
                wallet_id=wallet_id,
                origin=origin,
                coins=coins[start : start + BATCH_COINS],
                batch=first_batch + start // BATCH_COINS,
                waiting_batch=waiting_batch,
            )
        )
    return arrivals


# Reading the files of an import.

# Longer than it takes to unpack and read as much as an import takes, in which the lease cannot be renewed.
_READING: Final = timedelta(seconds=60)


def begin_reading(*, held: Claim) -> bytes | None:
    """
    Return the sealed files of an import, and keep the task while they are read; None if they were read before.

    :raises TaskSuperseded: another worker has the task
    """
    with transaction.atomic():
        fence(held, step=Step.READING)
        LockerTask.objects.filter(pk=held.task_id).update(lease_until=Now() + _READING)
        found = Upload.objects.filter(pk=held.task_id).values_list("content", flat=True).first()
    return None if found is None else bytes(found)


def end_reading(
    *, held: Claim, save: Callable[[], Arrivals], two_secrets: Sequence[int], files: Callable[[], list[dict[str, Any]]]
) -> Arrivals:
    """
    Commit the claims that `save` writes in the place of the files; `files` tells the outcome of each afterwards.

    A task for which nothing but waiting is left is parked.

    :raises TaskSuperseded: another worker has the task
    """
    with transaction.atomic():
        fence(held)
        arrivals = save()
        coins = len(arrivals.saved) + len(arrivals.waiting)
        Upload.objects.filter(pk=held.task_id).delete()
        LockerTask.objects.filter(pk=held.task_id).update(
            plan={"two_secrets": list(two_secrets)},
            result={"files": files()},
            is_long=is_long(coins),
            deadline=Now() + time_for(coins),
        )
        if arrivals.waiting and not arrivals.saved:
            _park(held, coins)
    return arrivals


# Tasks whose coins wait for other claims.


def _park(held: Claim, coins: int) -> None:
    LockerTask.objects.filter(pk=held.task_id).update(
        is_parked=True,
        lease_until=None,
        step=Step.WAITING,
        deadline=Now() + competing_claims.PATIENCE + time_for(coins),
    )


def has_waiting_claims(*, task_id: UUID) -> bool:
    return Coin.objects.filter(task_id=task_id, state=CoinState.WAITING).exists()


def promote_waiting(*, held: Claim) -> bool:
    """
    Let those of a task's waiting claims begin that are first by now, and return whether there are any to work on.

    If none is, and some wait still, the task is parked again; its deadline stays what it was.

    :raises TaskSuperseded: another worker has the task
    """
    with transaction.atomic():
        fence(held)
        dropped = competing_claims.drop_settled(task_id=held.task_id)
        if dropped:
            _note_left(held.task_id, dropped)
        try:
            with transaction.atomic():
                promoted = competing_claims.promote(task_id=held.task_id, batch_coins=BATCH_COINS)
        except IntegrityError:
            # Another claim came in just now that had not seen these.
            promoted = competing_claims.Promoted(0, ())
        mine = LockerTask.objects.filter(pk=held.task_id)
        if promoted.coins:
            mine.update(
                deadline=Greatest(F("deadline"), Now() + time_for(promoted.coins)), is_long=is_long(promoted.coins)
            )
            if promoted.two_secrets:
                plan = mine.values_list("plan", flat=True).get()
                mine.update(plan=plan | {"two_secrets": list(promoted.two_secrets)})
        elif has_waiting_claims(task_id=held.task_id):
            mine.update(is_parked=True, lease_until=None, step=Step.WAITING)
    return bool(promoted.coins)


def unpark(*, limit: int = 100) -> list[UUID]:
    """Let workers take tasks again whose claims can go on, or whose time is up, and return their ids."""
    return competing_claims.unpark(limit=limit)


def _note_left(task_id: UUID, units: int) -> None:
    """Keep in mind what a task leaves because a wallet holds it, or because another task of its wallet claims it."""
    with connection.cursor() as cursor:
        cursor.execute(
            "UPDATE lockers_lockertask SET plan = plan || jsonb_build_object("
            " 'left', coalesce((plan->>'left')::bigint, 0) + %s) WHERE id = %s",
            [units, task_id],
        )


def _hand_on_what_waits(task: LockerTask) -> UUID:
    """Leave the claims for which a task waits to another one like it, which takes no worker as long as they wait."""
    successor_id = uuid4()
    begun = datetime.fromisoformat(task.plan["waits_since"]) if "waits_since" in task.plan else timezone.now()
    number = Coin.objects.filter(task=task, state=CoinState.WAITING).count()
    LockerTask.objects.create(
        id=successor_id,
        kind=task.kind,
        wallet_id=task.wallet_id,
        actor_id=task.actor_id,
        step=Step.WAITING,
        is_parked=True,
        tag=task.tag,
        code=None
        if task.code is None
        else coin_secrets.seal_task_code(coin_secrets.task_code(task), task_id=successor_id),
        receipt_id=token_hex(16),
        deadline=begun + competing_claims.PATIENCE + time_for(number),
        plan={"waits_since": begun.isoformat()},
        result={"files": []}
        if task.kind == TaskKind.IMPORT
        else {name: task.result[name] for name in ("spelling",) if name in task.result},
        request_id=task.request_id,
    )
    competing_claims.hand_on(task_id=task.pk, successor_id=successor_id)
    return successor_id


# What a task came to.


def conclude(
    *,
    held: Claim,
    task: LockerTask | None = None,
    reason: str = "",
    further: Mapping[str, Any] | None = None,
    delivers: bool = False,
    settled: Sequence[Settled] = (),
    waits_on: bool = True,
) -> TaskState:
    """
    Bring the task to its final state from the marks as they stand, and return that state.

    Needs no network and may be called at any step: a coin with which nothing was ever sent goes
    back as it was, one whose servers may hold either secret goes to limbo with both.
    `task` is its row as this attempt has read it, if it has; nobody else can have changed that since.
    `reason` is said to the user when it did not end well, and `further` is added to the result. With
    `delivers` the coins that a transfer or an export had reserved leave the wallet first. `settled` are attempts
    that are settled with it. Claims that wait for others are left to a task of their own; without `waits_on` they are
    given up.

    :raises TaskSuperseded: another worker has the task
    """
    with transaction.atomic():
        _in_one_statement(_MUST_LAST, _SETTLED + _NOTHING_MORE, held, **_settled_columns(settled))
        task = task or LockerTask.objects.get(pk=held.task_id)
        attempts = _attempts(held.task_id)
        said, awaited = _said(attempts), _not_waited_for(attempts)
        tally = Tally.empty()
        board = [dict[str, int]() for _ in range(RAIDA_COUNT)]
        spread = _Spread()
        lockers: set[UUID] = set() if task.locker_id is None else {task.locker_id}
        delivered = delivery.deliver(task) if delivers else None
        for batch, kinds in _kinds(task.id).items():
            if batch <= coin_breaks.FIRST_BREAK:
                _conclude_break(task, batch, tally, board)
            else:
                told = said.get(batch, ())
                lockers |= _conclude_batch(
                    task, batch, kinds, told, awaited.get(batch, frozenset()), tally, board, spread
                )
        if tally.had_doubtful:
            current_results.follow(later=task)
        _settle_lockers(lockers)
        if spread.to_mend:
            _have_mended(spread.to_mend)
        left = _leave_what_waits(task, waits_on=waits_on) if task.kind in _CLAIMING else task_results.Left()
        # Only where no coin came in at all is there something to say of who answered.
        answered = RAIDA_COUNT if tally.count else task_results.servers_that_answered(task.id)
        state, message, result = task_results.verdict(task, tally, reason, delivered, left, answered=answered)
        if any(board):
            result["raida"] = coin_outcomes.commonest(board)
        if spread.passes:
            result["servers"] = {"fewest": min(spread.passes), "most": max(spread.passes)}
        if task.kind == TaskKind.PUT and len(spread.passes) > 1:
            result["fewer"] = current_results.coins_on_fewer_servers(task_id=task.id)
        _end(held, state, message, result | dict(further or {}), listens=bool(awaited))
        account_ledger.post(
            task_id=task.id,
            postings=[
                account_ledger.Posting(
                    task.wallet_id,
                    tally.units_of(*SPENDABLE) - tally.spendable_before,
                    account_ledger.TYPE_OF.get(TaskKind(task.kind), LineType.ADJUSTMENT),
                )
            ],
        )
    # Neither codes nor serial numbers: this line is for operators.
    _log.info("Task %s (%s) ended: %s", task.id, task.kind, state)
    return state


def _conclude_break(task: LockerTask, batch: int, tally: Tally, board: list[dict[str, int]]) -> None:
    """Settle one broken coin and its ten."""
    settled = coin_breaks.settle(task=task, batch=batch, keep=False)
    tally.spendable_before += settled.spendable_before
    tally.had_doubtful |= settled.had_doubtful
    for state, denomination in settled.coins:
        tally.add(state, {denomination: 1})
    if task.kind != TaskKind.PUT:
        for raida, letter in enumerate(settled.shown):
            board[raida][letter] = board[raida].get(letter, 0) + 1


# Tasks that lay claim to coins.
_CLAIMING: Final = (TaskKind.TAKE, TaskKind.IMPORT)


def _leave_what_waits(task: LockerTask, *, waits_on: bool) -> task_results.Left:
    known, waiting = competing_claims.left_of(task_id=task.pk)
    if not waiting:
        return task_results.Left(units=known)
    if waits_on:
        return task_results.Left(known, waiting, _hand_on_what_waits(task))
    competing_claims.give_up(task_id=task.pk)
    return task_results.Left(known, waiting)


# Tasks by which no coin comes into a wallet.
_KEEPS_COINS: Final = (TaskKind.PUT, TaskKind.FIX, TaskKind.TRANSFER, TaskKind.EXPORT)


class _Kind(NamedTuple):
    """What tells how a coin ends, and most coins of a batch have in common."""

    is_put: bool
    state: str
    pown: str
    outcome: str
    releasing: bool
    origin: str


@dataclass(slots=True)
class _Alike:
    """How many coins of one kind there are of each denomination, and the lockers that they are on the way to."""

    counts: dict[int, int] = field(default_factory=dict)
    lockers: set[UUID] = field(default_factory=set)


def _kinds(task_id: UUID) -> dict[int, dict[_Kind, _Alike]]:
    """Lock all coins of a task, and return the kinds of each batch."""
    found: dict[int, dict[_Kind, _Alike]] = {}
    with connection.cursor() as cursor:
        cursor.execute(_KINDS, [task_id])
        for batch, denomination, locker_id, count, *kind in cursor.fetchall():
            alike = found.setdefault(batch, {}).setdefault(_Kind(*kind), _Alike())
            alike.counts[denomination] = alike.counts.get(denomination, 0) + count
            if locker_id is not None:
                alike.lockers.add(locker_id)
    return found


_KINDS: Final = """
WITH coin AS MATERIALIZED (
    SELECT batch, denomination, locker_id, state, pown, outcome, releasing, origin
      FROM lockers_coin WHERE task_id = %s AND state <> 'waiting' ORDER BY id FOR NO KEY UPDATE
)
SELECT batch, denomination, locker_id, count(*), locker_id IS NOT NULL, state, pown, outcome, releasing, origin
  FROM coin GROUP BY batch, denomination, locker_id, state, pown, outcome, releasing, origin
 ORDER BY batch, denomination DESC
"""


def _conclude_batch(
    task: LockerTask,
    batch: int,
    kinds: Mapping[_Kind, _Alike],
    said: Sequence[tuple[str, str]],
    awaited: Set[int],
    tally: Tally,
    board: list[dict[str, int]],
    spread: "_Spread",
) -> set[UUID]:
    """Settle one batch of the task's coins and return the lockers whose contents it touched."""
    changes: dict[coin_outcomes.Ending, dict[_Kind, coin_outcomes.Ending]] = {}
    arrived: set[_Kind] = set()
    touched: set[UUID] = set()
    for kind, alike in kinds.items():
        ending = _ending(task, said, kind)
        if awaited:
            ending = replace(ending, shown=_with_those_awaited(ending.shown, awaited))
        touched |= alike.lockers
        tally.had_doubtful |= kind.state in DOUBTFUL
        # Change that was made for a put, and not needed for it, is nothing that the servers were asked about.
        for raida, letter in enumerate(ending.shown if batch != coin_breaks.POOL else ""):
            board[raida][letter] = board[raida].get(letter, 0) + sum(alike.counts.values())
        if kind.state in SPENDABLE:
            tally.spendable_before += coin_selection.total(alike.counts)
        if ending.state is None:
            _of_kind(task.id, batch, kind).filter(state=CoinState.INCOMING).delete()
            continue
        tally.add(ending.state, alike.counts)
        spread.note(task, batch, ending, alike.lockers)
        if ending.pown == "p" * RAIDA_COUNT:
            tally.whole += sum(alike.counts.values())
        if ending.state is CoinState.LIMBO and kind.is_put:
            tally.units_for_locker_in_limbo += coin_selection.total(alike.counts)
        if ending.state in SPENDABLE and task.kind not in _KEEPS_COINS:
            arrived.add(kind)
        changes.setdefault(replace(ending, pown="", shown=""), {})[kind] = ending
    came = [WireCoin(*row) for kind in arrived for row in _identities(task.id, batch, kind)]
    for change, endings in changes.items():
        number = sum(sum(kinds[kind].counts.values()) for kind in endings)
        _settle_coins(task, batch, change, endings, number, said)
    if came:
        touched |= _note_departures(came)
    return touched


def _with_those_awaited(shown: str, awaited: Set[int]) -> str:
    return "".join(
        server_letters.NOT_WAITED_FOR if letter == "n" and raida in awaited else letter
        for raida, letter in enumerate(shown)
    )


def _of_kind(task_id: UUID, batch: int, kind: _Kind) -> QuerySet[Coin]:
    about = kind._asdict()
    is_put = about.pop("is_put")
    return Coin.objects.filter(task_id=task_id, batch=batch, locker__isnull=not is_put, **about)


def _identities(task_id: UUID, batch: int, kind: _Kind) -> Iterable[tuple[int, int]]:
    return _of_kind(task_id, batch, kind).values_list("denomination", "serial_number")


def _ending(task: LockerTask, said: Sequence[tuple[str, str]], kind: _Kind) -> coin_outcomes.Ending:
    marks = covered(kind.outcome, kind.pown, said)
    if task.kind == TaskKind.FIX:
        return coin_outcomes.ending_of_fix(CoinState(kind.state), marks, kind.pown)
    return coin_outcomes.ending(
        state=CoinState(kind.state),
        is_put=kind.is_put,
        is_release=kind.releasing,
        origin=TaskKind(kind.origin),
        marks=marks,
        pown=kind.pown,
    )


@dataclass(frozen=True, slots=True)
class _Sealed:
    """New sealed numbers for a coin's columns; None leaves what is there."""

    secrets: bytes | None
    proposed: bytes | None


def _settle_coins(
    task: LockerTask,
    batch: int,
    change: coin_outcomes.Ending,
    endings: Mapping[_Kind, coin_outcomes.Ending],
    number: int,
    said: Sequence[tuple[str, str]],
) -> None:
    """
    Let coins of some kinds go in their new state, and write a line of the receipt for each.

    Numbers that are in the row already are moved without being opened.
    """
    assert change.state is not None
    values: dict[str, Any] = {
        "task": task.id,
        "batch": batch,
        "state": change.state,
        "stays_in_locker": change.stays_in_locker,
        "stays_releasing": change.stays_releasing,
        "takes_new": change.secrets is coin_outcomes.Secrets.NEW,
        "keeps_both": change.secrets
        not in (coin_outcomes.Secrets.OLD, coin_outcomes.Secrets.NEW, coin_outcomes.Secrets.MIXED),
        "before": [str(old) for old in may_have_been(change.state)],
        "powns": [ending.pown for ending in endings.values()],
        "shown": [ending.shown for ending in endings.values()],
        **{f"of_{name}": list(column) for name, column in zip(_Kind._fields, zip(*endings, strict=True), strict=True)},
    }
    if change.secrets in (coin_outcomes.Secrets.UNTOUCHED, coin_outcomes.Secrets.OLD, coin_outcomes.Secrets.NEW):
        statement = _SETTLE_KINDS
    else:
        statement = _SETTLE_COINS
        numbers = {
            kind: _numbers_to_keep(task, change.secrets, covered(kind.outcome, kind.pown, said), batch, kind)
            for kind in endings
        }
        values |= {
            "ids": [coin_id for sealed in numbers.values() for coin_id in sealed],
            "secrets": [one.secrets for sealed in numbers.values() for one in sealed.values()],
            "proposed": [one.proposed for sealed in numbers.values() for one in sealed.values()],
            "powns": [endings[kind].pown for kind, sealed in numbers.items() for _ in sealed],
            "shown": [endings[kind].shown for kind, sealed in numbers.items() for _ in sealed],
        }
    with connection.cursor() as cursor:
        cursor.execute(statement, values)
        if cursor.rowcount != number:
            raise AssertionError(f"{number - cursor.rowcount} coins cannot become {change.state}")


_SETTLE: Final = """
WITH settled AS (
    UPDATE lockers_coin SET state = %(state)s, pown = new.new_pown, task_id = NULL, batch = NULL, outcome = '',
           locker_id = CASE WHEN %(stays_in_locker)s THEN locker_id END, releasing = %(stays_releasing)s,
           changed_at = now(), secrets = coalesce(
               new.secrets, CASE WHEN %(takes_new)s THEN lockers_coin.proposed ELSE lockers_coin.secrets END),
           proposed = CASE WHEN %(keeps_both)s THEN coalesce(new.proposed, lockers_coin.proposed) END
      FROM {new}
       AND lockers_coin.task_id = %(task)s AND lockers_coin.state = ANY(%(before)s)
    RETURNING denomination, serial_number, new.shown, lockers_coin.state
)
INSERT INTO lockers_receiptline (task_id, denomination, serial_number, pown, state)
SELECT %(task)s, denomination, serial_number, shown, state FROM settled
"""
_SETTLE_COINS: Final = _SETTLE.format(
    new="""
           unnest(%(ids)s::uuid[], %(powns)s::text[], %(shown)s::text[], %(secrets)b::bytea[], %(proposed)b::bytea[])
           AS new (id, new_pown, shown, secrets, proposed)
     WHERE lockers_coin.id = new.id"""
)
# The rows are locked, so they are of the kinds that were read. To name each of them would cost half as much again.
_SETTLE_KINDS: Final = _SETTLE.format(
    new="""
           (SELECT *, NULL::bytea AS secrets, NULL::bytea AS proposed
              FROM unnest(%(of_is_put)s::bool[], %(of_state)s::text[], %(of_pown)s::text[], %(of_outcome)s::text[],
                          %(of_releasing)s::bool[], %(of_origin)s::text[], %(powns)s::text[], %(shown)s::text[])
                   AS kind (is_put, old_state, pown, outcome, releasing, origin, new_pown, shown)) AS new
     WHERE lockers_coin.batch = %(batch)s AND (lockers_coin.locker_id IS NOT NULL) = new.is_put
       AND lockers_coin.state = new.old_state AND lockers_coin.pown = new.pown AND lockers_coin.outcome = new.outcome
       AND lockers_coin.releasing = new.releasing AND lockers_coin.origin = new.origin"""
)


def _numbers_to_keep(
    task: LockerTask, kept: coin_outcomes.Secrets, marks: str, batch: int, kind: _Kind
) -> dict[UUID, _Sealed]:
    """What has to be sealed anew so that `secrets` has what each server holds, and `proposed` what it may hold."""
    rows = _of_kind(task.id, batch, kind)
    if kept is coin_outcomes.Secrets.REVERTED:
        return {
            row.pk: _Sealed(None, coin_secrets.seal_numbers(_keys_of(row.locker), coin_id=row.pk))
            for row in rows.select_related("locker")
        }
    # The keys of a put's locker stand in no row of a coin yet; what a take or an import proposed does.
    keys = coin_secrets.keys_of(task) if task.kind == TaskKind.PUT else None
    found: dict[UUID, _Sealed] = {}
    for coin_id, secrets, proposed in rows.values_list("id", "secrets", "proposed"):
        held = None
        if kept is not coin_outcomes.Secrets.BOTH:
            old = coin_secrets.open_numbers(secrets, coin_id=coin_id)
            new = keys or coin_secrets.open_numbers(proposed or b"", coin_id=coin_id)
            held = [new[raida] if marks[raida] == Mark.NEW else old[raida] for raida in range(RAIDA_COUNT)]
        found[coin_id] = _Sealed(
            None if held is None else coin_secrets.seal_numbers(held, coin_id=coin_id),
            None if keys is None else coin_secrets.seal_numbers(keys, coin_id=coin_id),
        )
    return found


def _keys_of(locker: Locker | None) -> Sequence[bytes]:
    assert locker is not None
    return tuple(codes.locker_keys(coin_secrets.locker_code(locker)))


def _note_departures(coins: Sequence[WireCoin]) -> set[UUID]:
    """Coins that are now held here for certain have left whatever lockers and files of ours they were in: those."""
    with connection.cursor() as cursor:
        # By identity, so that the plan is a look-up in the index of locked coins and never a join of the table
        # with itself.
        cursor.execute(
            "UPDATE lockers_coin AS coin SET state = 'sent', changed_at = now()"
            " FROM unnest(%s::smallint[], %s::bigint[]) AS gone(denomination, serial_number)"
            " WHERE coin.denomination = gone.denomination AND coin.serial_number = gone.serial_number"
            " AND coin.state IN ('locked', 'exported') RETURNING coin.locker_id",
            [[coin.denomination for coin in coins], [coin.serial_number for coin in coins]],
        )
        return {row[0] for row in cursor.fetchall() if row[0] is not None}


def _settle_lockers(locker_ids: set[UUID]) -> None:
    """Derive what is known of lockers from their coins."""
    with connection.cursor() as cursor:
        # Counted by a statement of its own, which sees what was committed while this one waited.
        cursor.execute(
            "SELECT id FROM lockers_locker WHERE id = ANY(%s) ORDER BY id FOR NO KEY UPDATE", [list(locker_ids)]
        )
        cursor.execute(
            "UPDATE lockers_locker SET state = known.state, changed_at = now()"
            "  FROM (SELECT locker.id,"
            "               CASE WHEN bool_or(coin.state = 'locked') THEN 'filled'"
            "                    WHEN bool_or(coin.state IN ('limbo', 'bank', 'fracked')) THEN 'unknown'"
            "                    WHEN bool_or(coin.state = 'sent') THEN 'emptied' ELSE 'failed' END AS state"
            "          FROM lockers_locker AS locker LEFT JOIN lockers_coin AS coin ON coin.locker_id = locker.id"
            "         WHERE locker.id = ANY(%s) GROUP BY locker.id) AS known"
            " WHERE lockers_locker.id = known.id AND lockers_locker.state <> known.state",
            [list(locker_ids)],
        )


@dataclass(slots=True)
class _Spread:
    """On how many servers the coins stand that a task has stored or made ours, and lockers that lack some."""

    passes: set[int] = field(default_factory=set)
    to_mend: set[UUID] = field(default_factory=set)

    def note(self, task: LockerTask, batch: int, ending: coin_outcomes.Ending, locker_ids: Set[UUID]) -> None:
        of_interest = (CoinState.LOCKED,) if task.kind == TaskKind.PUT else (CoinState.LOCKED, *SPENDABLE)
        if ending.state not in of_interest or batch == coin_breaks.POOL:
            return
        passes = ending.pown.count("p")
        self.passes.add(passes)
        if ending.state is CoinState.LOCKED and passes < RAIDA_COUNT:
            self.to_mend |= locker_ids


def _have_mended(locker_ids: Set[UUID]) -> None:
    """Have the servers asked again that do not store all coins of lockers; late answers may make it needless."""
    with connection.cursor() as cursor:
        cursor.execute(
            "UPDATE lockers_locker SET mend_at = now() + interval '0.5 seconds', mends = 0 WHERE id = ANY(%s)",
            [list(locker_ids)],
        )


def finish(*, held: Claim, state: TaskState, message: str, result: dict[str, Any]) -> None:
    """
    End a task that holds no coins, such as a peek.

    :raises TaskSuperseded: another worker has the task
    """
    with transaction.atomic():
        fence(held)
        listens = server_letters.NOT_WAITED_FOR in result.get("raida", "")
        _end(held, state, message, result, listens=listens)
    _log.info("Task %s ended: %s", held.task_id, state)


def _end(held: Claim, state: TaskState, message: str, result: Mapping[str, Any], *, listens: bool = False) -> None:
    with connection.cursor() as cursor:
        cursor.execute(
            # The files of an import whose time was up before they were read.
            "WITH read AS (DELETE FROM lockers_upload WHERE id = %s)"
            " UPDATE lockers_lockertask SET state = %s, step = %s, message = %s, result = result || %s::jsonb,"
            " lease_until = NULL, finished_at = now(), seen_at = NULL,"
            " progress = CASE WHEN %s THEN 100 ELSE progress END,"
            " listens_until = CASE WHEN %s THEN now() + make_interval(secs => %s) END WHERE id = %s",
            [
                held.task_id,
                state,
                Step.DONE,
                message,
                json.dumps(result),
                state is TaskState.COMPLETED,
                listens,
                late_answers.listening_time().total_seconds(),
                held.task_id,
            ],
        )
