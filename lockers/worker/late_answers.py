"""
Record what servers say about a task that has ended: late answers, and answers to later requests.

The attempt, the receipt and the letters of the result are always updated. A coin's row is updated only if the coin has
not moved since: a coin of a put is still in its locker, and an incoming coin has not changed since the task ended.

Locks the task's row, and skips coins that another transaction has locked.
"""

import json
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any, Final, NamedTuple
from uuid import UUID

from django.conf import settings
from django.db import connection, transaction
from django.utils import timezone

from lockers import current_results, vault
from lockers.models import Attempt, Coin, LockerTask
from lockers.raida.commands import Command
from lockers.raida.statuses import QUORUM, RAIDA_COUNT
from lockers.server_letters import NOT_WAITED_FOR, of_peek
from lockers.states import SPENDABLE, CoinState, TaskKind, TaskState
from lockers.transport import Results
from lockers.worker import messages, task_store
from lockers.worker.messages import CoinWork, Numbers, Reply, Targets

# The letter of a reply in a receipt.
SHOWN: Final[Mapping[Reply, str]] = {
    Reply.PASS: "p",
    Reply.FAIL: "f",
    Reply.ERROR: "e",
    Reply.UNREADABLE: "b",
    Reply.SILENT: "n",
    Reply.UNREACHED: "d",
}
# The letter in the row of an incoming coin: a server that has not taken the new number still has to.
_OF_ARRIVAL: Final[Mapping[Reply, str]] = {**SHOWN, Reply.UNREADABLE: "f", Reply.UNREACHED: "f"}

# The servers' replies by coin.
Told = Mapping[UUID, Mapping[int, Reply]]
_Identity = tuple[int, int]


def listening_time() -> timedelta:
    """Return how long answers may arrive after the end of a task: the timeout of a call, and 2 s to write them."""
    return timedelta(seconds=settings.RAIDA_TIMEOUT_SECONDS + 2)


def write(
    *,
    task_id: UUID,
    attempt_id: int,
    command: Command,
    coin_ids: Sequence[UUID],
    chosen: Targets,
    results: Results,
) -> None:
    """Record answers to one attempt of a task; nothing is written before the task has ended."""
    told: dict[UUID, dict[int, Reply]] = {}
    replies = messages.replies(command, {raida: chosen[raida] for raida in results}, results)
    for raida, each in replies.items():
        for index, reply in zip(chosen[raida], each, strict=True):
            told.setdefault(coin_ids[index], {})[raida] = reply
    with _writing():
        task = _ended(task_id)
        if task is None:
            return
        codes = {raida: messages.answer_code(result) for raida, result in results.items()}
        _write_answers(task_id, attempt_id, codes)
        rows = _rows(told, numbers=command is not Command.PUT)
        _write_receipt(task, {(row.denomination, row.serial_number): told[row.pk] for row in rows}, only=NOT_WAITED_FOR)
        if command is Command.PUT:
            _write_stored(rows, told, only=NOT_KNOWN)
        else:
            _write_arrived(task, rows, told)


@contextmanager
def _writing() -> Iterator[None]:
    """A transaction with `synchronous_commit = off`: the servers are asked again for what is lost."""
    with transaction.atomic(), connection.cursor() as cursor:
        cursor.execute("SELECT set_config('synchronous_commit', 'off', true)")
        yield


def write_peeked(task_id: UUID, results: Results) -> None:
    """Record what servers listed after 13 had decided a peek."""
    seen = messages.listing(results, quorum=QUORUM).statuses
    with _writing():
        task = _ended(task_id)
        if task is not None:
            said = {raida: of_peek(seen[raida]) for raida in results}
            _write_board(task, "".join(said.get(raida, letter) for raida, letter in enumerate(task.result["raida"])))


def _write_board(task: LockerTask, board: str) -> None:
    task.result["raida"] = board
    if NOT_WAITED_FOR not in board:
        task.listens_until = None
    task.save(update_fields=["result", "listens_until"])


def write_repaired(*, locker_id: UUID, told: Told) -> None:
    """Record which servers store the coins of a locker, from the answers to a repair: replies by coin and server."""
    if not told:
        return
    with _writing():
        task = (
            LockerTask.objects.select_for_update(no_key=True, of=("self",))
            .exclude(state=TaskState.RUNNING)
            .filter(locker_id=locker_id, kind=TaskKind.PUT)
            .defer("code")
            .order_by("created_at")
            .first()
        )
        rows = _rows(told)
        answered = {coin_id: _answered(each) for coin_id, each in told.items()}
        if task is not None:
            # While the first answer may still arrive, a missing answer is not recorded.
            listens = task.listens_until is not None and task.listens_until > timezone.now()
            said = answered if listens else told
            of_coins = {(row.denomination, row.serial_number): said[row.pk] for row in rows}
            _write_receipt(task, of_coins, only=NOT_WAITED_FOR + _NOT_STORED)
        _write_stored(rows, answered, only=_NOT_STORED)


@dataclass(frozen=True, slots=True)
class LostAnswers:
    """
    A task whose late answers were lost, and its coins that have not moved since, with their two numbers.

    `letters` are those of the receipt for each coin.
    """

    task_id: UUID
    wallet_id: UUID
    pieces: Sequence[CoinWork]
    letters: Sequence[str]


def claim_lost(*, limit: int) -> list[LostAnswers]:
    """Claim tasks whose listening time is over, for 30 s, and return them with their coins."""
    with connection.cursor() as cursor:
        cursor.execute(
            "UPDATE lockers_lockertask SET listens_until = now() + interval '30 seconds' WHERE id = ANY (ARRAY("
            " SELECT id FROM lockers_lockertask WHERE listens_until < now() ORDER BY listens_until LIMIT %s"
            " FOR NO KEY UPDATE SKIP LOCKED)) RETURNING id",
            [limit],
        )
        ids = [row[0] for row in cursor.fetchall()]
    return [_lost(task) for task in LockerTask.objects.filter(pk__in=ids).select_related("locker")]


def _lost(task: LockerTask) -> LostAnswers:
    open_lines = {line.identity: line.pown for line in _lines(task.pk) if NOT_WAITED_FOR in line.pown}
    rows = Coin.objects.filter(
        denomination__in={denomination for denomination, _ in open_lines},
        serial_number__in={number for _, number in open_lines},
    )
    keys: Numbers | None = None
    assert task.finished_at is not None
    if task.kind == TaskKind.PUT and task.locker is not None:
        rows = rows.filter(locker=task.locker, state=CoinState.LOCKED)
        keys = vault.locker_keys(task.locker)
    else:
        rows = rows.filter(state__in=SPENDABLE, task=None, changed_at=task.finished_at, proposed__isnull=False)
    found = [row for row in rows.order_by("id") if (row.denomination, row.serial_number) in open_lines]
    pieces = [
        task_store.coin_of_row(row, new=keys or vault.open_numbers(row.proposed or b"", coin_id=row.pk))
        for row in found
    ]
    letters = [open_lines[row.denomination, row.serial_number] for row in found]
    return LostAnswers(task.pk, task.wallet_id, pieces, letters)


def write_found(*, task_id: UUID, told: Told) -> None:
    """
    Record what servers hold of a task's coins whose late answers were lost.

    A server that does not answer now stays unanswered in the receipt.
    """
    with _writing():
        task = _ended(task_id)
        if task is None:
            return
        _give_up_answers(task_id)
        if not (lines := _lines(task_id)):
            _write_board(task, task.result["raida"].replace(NOT_WAITED_FOR, "n"))
            return
        rows = _rows(told, numbers=task.kind != TaskKind.PUT)
        said: dict[_Identity, Mapping[int, Reply]] = {
            line.identity: dict.fromkeys(range(RAIDA_COUNT), Reply.SILENT) for line in lines
        }
        for row in rows:
            identity = row.denomination, row.serial_number
            said[identity] = {**said.get(identity, {}), **told[row.pk]}
        _write_receipt(task, said, only=NOT_WAITED_FOR)
        certain = {coin_id: _only_passes(each) for coin_id, each in told.items()}
        if task.kind == TaskKind.PUT:
            _write_stored(rows, certain, only=NOT_KNOWN)
        else:
            # Only new numbers are final; a fix asks about the others.
            _write_arrived(task, rows, certain)


def _only_passes(told: Mapping[int, Reply]) -> Mapping[int, Reply]:
    return {raida: reply for raida, reply in told.items() if reply is Reply.PASS}


def _give_up_answers(task_id: UUID) -> None:
    with connection.cursor() as cursor:
        cursor.execute(
            "UPDATE lockers_attempt SET answers = array_replace(answers, %s::smallint, %s::smallint)"
            " WHERE task_id = %s AND %s = ANY(answers)",
            [
                Attempt.Unanswered.AWAITED,
                Attempt.Unanswered.SENT,
                task_id,
                Attempt.Unanswered.AWAITED,
            ],
        )


def _answered(told: Mapping[int, Reply]) -> Mapping[int, Reply]:
    return {raida: reply for raida, reply in told.items() if reply not in (Reply.SILENT, Reply.UNREACHED)}


# Letters that an answer may replace in the row of a coin: it is unknown which number the server holds,
NOT_KNOWN: Final = "n"
# or the server is not known to store the coin.
_NOT_STORED: Final = "nfuedb"


def _ended(task_id: UUID) -> LockerTask | None:
    rows = LockerTask.objects.select_for_update(no_key=True, of=("self",)).exclude(state=TaskState.RUNNING)
    return rows.defer("code").filter(pk=task_id).first()


def _write_answers(task_id: UUID, attempt_id: int, codes: Mapping[int, int]) -> None:
    with connection.cursor() as cursor:
        cursor.execute(
            "UPDATE lockers_attempt SET answers = ("
            "    SELECT array_agg(CASE WHEN known = %s THEN coalesce(late, known) ELSE known END ORDER BY position)"
            "      FROM unnest(answers, %s::smallint[]) WITH ORDINALITY AS each (known, late, position))"
            " WHERE id = %s AND task_id = %s",
            [Attempt.Unanswered.AWAITED, [codes.get(raida) for raida in range(RAIDA_COUNT)], attempt_id, task_id],
        )


def _rows(coin_ids: Iterable[UUID], *, numbers: bool = False) -> list[Coin]:
    rows = Coin.objects.filter(pk__in=list(coin_ids)).order_by("id")
    return list(rows if numbers else rows.only("denomination", "serial_number", "state", "pown"))


# Coins are written last, and locked ones are skipped, so that no transaction waits for this one, nor this one for
# another. The servers are asked again for what is not written. LATERAL, ANY and IS TRUE: each coin is found by its
# id, whatever the statistics of the table say; two sets of a thousand rows that are joined with each other may be
# compared pairwise.
_STORED: Final = """
UPDATE lockers_coin SET pown = new.pown
  FROM unnest(%s::uuid[], %s::text[], %s::text[]) AS new(id, pown_before, pown)
 CROSS JOIN LATERAL (
     SELECT id FROM lockers_coin AS coin
      WHERE coin.id = new.id AND (coin.pown = new.pown_before AND coin.state = 'locked') IS TRUE
        FOR NO KEY UPDATE SKIP LOCKED) AS mine
 WHERE lockers_coin.id = ANY (ARRAY[mine.id])
"""
_ARRIVED: Final = """
UPDATE lockers_coin SET pown = new.pown, state = new.state, secrets = new.secrets, proposed = new.proposed
  FROM unnest(%s::uuid[], %s::text[], %s::text[], %s::text[], %s::bytea[], %s::bytea[], %s::bytea[])
       AS new(id, pown_before, pown, state, secrets_before, secrets, proposed)
 CROSS JOIN LATERAL (
     SELECT id FROM lockers_coin AS coin
      WHERE coin.id = new.id AND coin.pown = new.pown_before AND coin.task_id IS NULL AND coin.changed_at = %s
        AND coin.secrets = new.secrets_before
        FOR NO KEY UPDATE SKIP LOCKED) AS mine
 WHERE lockers_coin.id = ANY (ARRAY[mine.id])
"""


def _write_stored(rows: Sequence[Coin], told: Told, *, only: str) -> None:
    """Record which servers store coins that are still in their locker."""
    new = {
        row.pk: (row.pown, letters)
        for row in rows
        if row.state == CoinState.LOCKED
        and (letters := _replaced(row.pown, told[row.pk], SHOWN, only=only)) != row.pown
    }
    if not new:
        return
    before, after = zip(*new.values(), strict=True)
    with connection.cursor() as cursor:
        cursor.execute(_STORED, [list(new), list(before), list(after)])


def _write_arrived(task: LockerTask, rows: Sequence[Coin], told: Told) -> None:
    """Record which servers have taken the new numbers of coins that have not moved since the task ended."""
    new: list[tuple[Any, ...]] = []
    for row in rows:
        if not _rests_since(row, task.finished_at) or row.proposed is None:
            continue
        letters = _replaced(row.pown, told[row.pk], _OF_ARRIVAL, only=NOT_KNOWN)
        if letters == row.pown:
            continue
        numbers = vault.open_numbers(row.secrets, coin_id=row.pk)
        proposed = vault.open_numbers(row.proposed, coin_id=row.pk)
        # Where the server has just confirmed the new number, the row takes it over.
        held = [
            later if (before, letter) == (NOT_KNOWN, "p") else number
            for before, letter, number, later in zip(row.pown, letters, numbers, proposed, strict=True)
        ]
        state = CoinState.FRACKED if "f" in letters else CoinState.BANK
        is_whole = letters == "p" * RAIDA_COUNT
        sealed = vault.seal_numbers(held, coin_id=row.pk)
        new.append((row.pk, row.pown, letters, state, row.secrets, sealed, None if is_whole else row.proposed))
    if not new:
        return
    columns = [list(column) for column in zip(*new, strict=True)]
    with connection.cursor() as cursor:
        cursor.execute(_ARRIVED, [*columns, task.finished_at])


def _rests_since(row: Coin, ended_at: datetime | None) -> bool:
    """Return whether the coin has not moved since its task ended: both times are those of one transaction."""
    return row.state in SPENDABLE and row.task_id is None and row.changed_at == ended_at


def _replaced(letters: str, told: Mapping[int, Reply], words: Mapping[Reply, str], *, only: str) -> str:
    return "".join(
        words[told[raida]] if raida in told and letter in only else letter for raida, letter in enumerate(letters)
    )


def _write_receipt(task: LockerTask, told: Mapping[_Identity, Mapping[int, Reply]], *, only: str) -> None:
    """Replace the letters in `only` by what servers said, in the receipt and the result of the task."""
    values: dict[str, Any] = {
        "task": task.pk,
        "denominations": [denomination for denomination, _ in told],
        "serial_numbers": [number for _, number in told],
    }
    with connection.cursor() as cursor:
        cursor.execute(_TOLD, values)
        new = {
            line.identity: letters
            for line in (_Line(*row) for row in cursor.fetchall())
            if (letters := line.with_letters(told, only=only)) != line.pown
        }
        if new:
            cursor.execute(
                "UPDATE lockers_receiptline SET pown = new.pown"
                "  FROM unnest(%s::smallint[], %s::bigint[], %s::text[]) AS new(denomination, serial_number, pown)"
                " WHERE lockers_receiptline.task_id = %s AND lockers_receiptline.denomination = new.denomination"
                "   AND lockers_receiptline.serial_number = new.serial_number",
                [[key[0] for key in new], [key[1] for key in new], list(new.values()), task.pk],
            )
        cursor.execute(_KINDS_OF_LINES, values)
        kinds = [_LinesAlike(*row) for row in cursor.fetchall()]
        asked = {raida for each in told.values() for raida in each}
        is_heard = not any(NOT_WAITED_FOR in kind.pown for kind in kinds)
        cursor.execute(
            "UPDATE lockers_lockertask SET result = result || %s::jsonb,"
            " listens_until = CASE WHEN %s THEN NULL ELSE listens_until END WHERE id = %s",
            [json.dumps(_result(task, kinds, asked)), is_heard, task.pk],
        )


# With OFFSET each coin is looked up, whatever PostgreSQL knows of the table.
_TOLD: Final = """
SELECT line.denomination, line.serial_number, line.pown
  FROM unnest(%(denominations)s::smallint[], %(serial_numbers)s::bigint[]) AS told (denomination, serial_number)
 CROSS JOIN LATERAL (
     SELECT * FROM lockers_receiptline AS each
      WHERE each.task_id = %(task)s AND each.denomination = told.denomination
        AND each.serial_number = told.serial_number OFFSET 0) AS line
"""
_KINDS_OF_LINES: Final = """
SELECT pown, state, settled_by_id IS NOT NULL, count(*) FROM lockers_receiptline WHERE task_id = %(task)s
 GROUP BY 1, 2, 3 ORDER BY min(id)
"""


class _LinesAlike(NamedTuple):
    """Lines of a receipt that have the same letters; most lines are alike."""

    pown: str
    state: str
    is_settled_later: bool
    number: int


@dataclass(frozen=True, slots=True)
class _Line:
    denomination: int
    serial_number: int
    pown: str

    @property
    def identity(self) -> _Identity:
        return self.denomination, self.serial_number

    def with_letters(self, told: Mapping[_Identity, Mapping[int, Reply]], *, only: str) -> str:
        return _replaced(self.pown, told.get(self.identity, {}), SHOWN, only=only)


def _lines(task_id: UUID) -> list[_Line]:
    with connection.cursor() as cursor:
        cursor.execute(
            "SELECT denomination, serial_number, pown FROM lockers_receiptline WHERE task_id = %s ORDER BY id",
            [task_id],
        )
        return [_Line(*row) for row in cursor.fetchall()]


def _result(task: LockerTask, kinds: Sequence[_LinesAlike], raidas: set[int]) -> dict[str, Any]:
    """Return the letters, and on how many servers the coins are stored, according to the receipt."""
    stored = (CoinState.LOCKED, CoinState.SENT) if task.kind == TaskKind.PUT else (*SPENDABLE, CoinState.LOCKED)
    counted = [kind for kind in kinds if kind.state in stored]
    result: dict[str, Any] = {}
    if counted:
        passes = {kind.pown.count("p") for kind in counted}
        result["servers"] = {"fewest": min(passes), "most": max(passes)}
        if task.kind == TaskKind.PUT:
            may_differ = len(passes) > 1 or any(kind.is_settled_later for kind in kinds)
            result["fewer"] = current_results.coins_on_fewer_servers(task_id=task.pk) if may_differ else []
        if board := task.result.get("raida"):
            result["raida"] = "".join(
                _commonest(counted, raida) if raida in raidas else letter for raida, letter in enumerate(board)
            )
    return result


def _commonest(kinds: Sequence[_LinesAlike], raida: int) -> str:
    votes = Counter[str]()
    for kind in kinds:
        votes[kind.pown[raida]] += kind.number
    return votes.most_common(1)[0][0]
