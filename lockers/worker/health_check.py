"""
Health check: ask the servers whether they still accept coins that no task has, and record the answers.

A server that crashes may lose what it acknowledged in the seconds before; the coin's row then lists a server that
refuses it. DETECT changes nothing, so no coin is reserved. An answer is recorded only if the coin has not moved since
it was read.
"""

from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import timedelta
from typing import Final
from uuid import UUID

from django.conf import settings
from django.db import connection, transaction
from django.db.models import F, Q, QuerySet
from django.db.models.functions import Now

from lockers import vault
from lockers.models import Coin, Locker
from lockers.raida.commands import Command
from lockers.raida.statuses import QUORUM, RAIDA_COUNT
from lockers.states import SPENDABLE, CoinState, Mark, Step, TaskState
from lockers.transport import Call, Results
from lockers.vault import SealBroken
from lockers.worker import broadcast, circuit_breaker, finalize, late_answers, messages, request_encryption, task_store
from lockers.worker.broadcast import TaskRun
from lockers.worker.messages import CoinWork, Numbers, Reply
from lockers.worker.task_store import BATCH_COINS, Claim, fence
from wallets.sql_files import load

# Sends a call of one batch to the servers.
Question = Callable[[Call, int], Results]

# The servers' replies about one coin.
Told = Mapping[int, Reply]

# Coins of one wallet in one task; those checked the longest ago come first.
MOST: Final = 20_000

# A fix does not check coins again that were checked within this time.
LATELY: Final = timedelta(minutes=10)

# Each coin is checked once a week. It is due after six days, which leaves a day for servers that are down.
_DUE_AFTER: Final = timedelta(days=6)

# A coin that was just imported or taken is not checked until its late answers have arrived.
_SETTLING: Final = timedelta(seconds=30)

# Rows locked by one statement; a put skips locked coins.
_WRITTEN_AT_ONCE: Final = 200


@dataclass(slots=True)
class Checked:
    """
    The outcome of a check.

    `refused` coins are accepted by fewer servers than recorded, `doubtful` ones by fewer than 13 (not recorded). About
    `unanswered` ones fewer than 13 servers answered.
    """

    coins: int = 0
    refused: int = 0
    doubtful: int = 0
    unanswered: int = 0
    # How many coins are accepted by how many servers, and each server's words.
    passes: Counter[int] = field(default_factory=Counter)
    words: list[Counter[str]] = field(default_factory=lambda: [Counter() for _ in range(RAIDA_COUNT)])

    @property
    def board(self) -> str:
        """Return a letter per server: "f" if it refuses any coin, or its reply for most coins."""
        return "".join("f" if each["f"] else each.most_common(1)[0][0] if each else "u" for each in self.words)

    @property
    def silent(self) -> int:
        """Return how many of the servers that were asked answered about no coin."""
        return sum(bool(each) and not each["p"] and not each["f"] for each in self.words)

    @property
    def servers(self) -> dict[str, int] | None:
        return {"fewest": min(self.passes), "most": max(self.passes)} if self.passes else None


def run(task_run: TaskRun) -> None:
    task_store.advance(held=task_run.held, step=Step.CHECKING, progress=5)
    checked = check_wallet(task_run)
    message, state = summary(checked)
    finalize.finish(
        held=task_run.held,
        state=state,
        message=message,
        result={
            "coins_checked": checked.coins,
            "coins_refused": checked.refused,
            "coins_doubtful": checked.doubtful,
            **({} if checked.servers is None else {"servers": checked.servers}),
            "raida": checked.board,
        },
    )


def summary(checked: Checked) -> tuple[str, TaskState]:
    """Return the message about a check, and the state in which its task ends."""
    if not checked.coins:
        return "The wallet has no free coin to check.", TaskState.COMPLETED
    parts = []
    is_incomplete = checked.unanswered == checked.coins
    if is_incomplete:
        parts.append(f"Fewer than {QUORUM} servers answered, so the check is incomplete; try again later")
    if checked.doubtful:
        parts.append(
            f"{checked.doubtful} of {checked.coins} coins may be accepted by fewer than {QUORUM} servers;"
            " these refusals were not recorded"
        )
    if checked.refused:
        parts.append(
            f"{_of(checked.refused, checked.coins)} accepted by fewer servers than before; a fix repairs what it can"
        )
    if not parts:
        parts.append(
            "Every coin is accepted by all servers"
            if checked.passes.keys() == {RAIDA_COUNT} and not checked.silent
            else "No server refuses a coin that it accepted before"
        )
    if checked.silent and not is_incomplete:
        parts.append(f"{checked.silent} of {RAIDA_COUNT} servers gave no answer")
    return "; ".join(parts) + ".", TaskState.ERROR if is_incomplete else TaskState.COMPLETED


def _of(number: int, coins: int) -> str:
    return f"{number} of {coins} coins {'is' if number == 1 else 'are'}"


def at_rest(wallet_id: UUID) -> QuerySet[Coin]:
    """The coins of a wallet that may be spent and that no task has."""
    return Coin.objects.filter(wallet_id=wallet_id, state__in=SPENDABLE, task=None)


def not_checked_lately(rows: QuerySet[Coin]) -> QuerySet[Coin]:
    return rows.filter(Q(checked_at=None) | Q(checked_at__lt=Now() - LATELY))


def check_wallet(task_run: TaskRun, *, of_task: bool = False) -> Checked:
    """Check the free coins of a task's wallet, with `of_task` also those of the task, and record the answers."""
    wanted = Q(task=None) | Q(task=task_run.task) if of_task else Q(task=None)
    rows = Coin.objects.filter(wanted, wallet_id=task_run.task.wallet_id, state__in=SPENDABLE)
    checked = Checked()
    for number, page in enumerate(_pages(rows, limit=MOST)):

        def question(call: Call, _: int, at: int = number) -> Results:
            return task_run.question(call, at)

        told = ask(page, wallet_id=task_run.task.wallet_id, question=question)
        record(page, told, into=checked, task_id=task_run.task.id if of_task else None, held=task_run.held)
    return checked


def check_due() -> Checked:
    """
    Check the free coins that are due, as many as the setting allows in a minute.

    Coins in wallets come first, then those in lockers that were filled here.
    """
    checked = Checked()
    limit = settings.CHECKED_COINS_PER_MINUTE
    if not limit or circuit_breaker.too_many_open():
        return checked
    due = Coin.objects.filter(
        Q(checked_at=None) | Q(checked_at__lt=Now() - _DUE_AFTER), task=None, changed_at__lt=Now() - _SETTLING
    )
    for page in _pages(due.filter(state__in=SPENDABLE), limit=limit):
        # The number of one coin encrypts a request about all: only this service knows it.
        told = ask(page, wallet_id=page[0].wallet_id, question=broadcast.ask_at_once)
        record(page, told, into=checked)
    for page in _pages(due.filter(state=CoinState.LOCKED), limit=limit - checked.coins):
        told = ask_locked(page, wallet_id=page[0].wallet_id, question=broadcast.ask_at_once)
        checked.coins += len(page)
        checked.refused += record_locked(page, told)
    return checked


def _pages(rows: QuerySet[Coin], *, limit: int) -> Iterator[list[Coin]]:
    ids = list(rows.order_by(F("checked_at").asc(nulls_first=True)).values_list("pk", flat=True)[:limit])
    for start in range(0, len(ids), BATCH_COINS):
        page = list(rows.filter(pk__in=ids[start : start + BATCH_COINS]).order_by("id").defer("proposed"))
        if page:
            yield page


def ask(rows: Sequence[Coin], *, wallet_id: UUID, question: Question) -> Sequence[Told]:
    """
    Return what each server says about each of at most a thousand free coins; servers that do not answer are left out.

    The servers that accept a coin according to its row are asked. A coin of `wallet_id` may be the key coin.
    """
    asked = {
        place: task_store.coin_of_row(row, old=numbers)
        for place, row in enumerate(rows)
        if (numbers := _numbers_of(row)) is not None
    }
    return _placed(len(rows), asked, Command.DETECT, wallet_id, question, known_good=True)


def ask_locked(rows: Sequence[Coin], *, wallet_id: UUID, question: Question) -> Sequence[Told]:
    """
    Return which number each server holds of each of at most a thousand coins in lockers.

    A coin of `wallet_id` may be the key coin.
    """
    lockers = Locker.objects.in_bulk({row.locker_id for row in rows if row.locker_id is not None})
    keys = {locker_id: _keys_of(each) for locker_id, each in lockers.items()}
    asked = {
        place: task_store.coin_of_row(row, old=numbers, new=new)
        for place, row in enumerate(rows)
        if row.locker_id is not None
        and (new := keys[row.locker_id]) is not None
        and (numbers := _numbers_of(row)) is not None
    }
    return _placed(len(rows), asked, Command.FIND, wallet_id, question)


def _numbers_of(row: Coin) -> Numbers | None:
    """Return a coin's numbers; None if no configured key opens them, which `manage.py doctor` reports."""
    try:
        return vault.open_numbers(row.secrets, coin_id=row.pk)
    except SealBroken:
        return None


def _keys_of(locker: Locker) -> Numbers | None:
    """Return a locker's keys; None if no configured key opens its code."""
    try:
        return vault.locker_keys(locker)
    except SealBroken:
        return None


def _placed(
    count: int,
    asked: Mapping[int, CoinWork],
    command: Command,
    wallet_id: UUID,
    question: Question,
    *,
    known_good: bool = False,
) -> Sequence[Told]:
    """Ask about these coins, and return the replies at their places; rows that do not open have none."""
    told: list[dict[int, Reply]] = [{} for _ in range(count)]
    if not asked:
        return told
    places, pieces = list(asked), list(asked.values())
    chosen = messages.choose(pieces, Mark.UNASKED, known_good=known_good)
    key_coin = request_encryption.key_coin_of(wallet_id)
    said = request_encryption.ask(command, pieces, chosen, lambda call: question(call, 0), key_coin=key_coin)
    for raida, replies in said.items():
        for index, reply in zip(chosen[raida], replies, strict=True):
            told[places[index]][raida] = reply
    return told


def record(
    rows: Sequence[Coin],
    told: Sequence[Told],
    *,
    into: Checked | None = None,
    task_id: UUID | None = None,
    held: Claim | None = None,
) -> Checked:
    """
    Record which servers refuse coins that they accept according to the rows.

    A missing answer changes nothing, nor do refusals that would leave fewer than 13 servers: the next command that uses
    the coin decides. Rows that were moved or locked meanwhile are skipped; those of the task `task_id` are its own.

    :raises TaskSuperseded: the check is a task's, `held`, and another worker has it
    """
    checked = Checked() if into is None else into
    new: list[tuple[UUID, str, str, object]] = []
    for row, each in zip(rows, told, strict=True):
        answers = {raida: reply for raida, reply in each.items() if reply in (Reply.PASS, Reply.FAIL)}
        letters = "".join(
            "f" if letter == "p" and answers.get(raida) is Reply.FAIL else letter
            for raida, letter in enumerate(row.pown)
        )
        checked.coins += 1
        for raida, reply in each.items():
            checked.words[raida][late_answers.SHOWN[reply]] += 1
        if letters.count("p") < QUORUM:
            checked.doubtful += 1
            letters = row.pown
        elif letters != row.pown:
            checked.refused += 1
        checked.passes[letters.count("p")] += 1
        if len(answers) < QUORUM:
            checked.unanswered += 1
            if letters == row.pown:
                continue
        new.append((row.pk, row.pown, letters, row.changed_at))
    for start in range(0, len(new), _WRITTEN_AT_ONCE):
        ids, before, after, changed = zip(*new[start : start + _WRITTEN_AT_ONCE], strict=True)
        with transaction.atomic(), connection.cursor() as cursor:
            if held is not None:
                fence(held)
            cursor.execute(
                _CHECKED,
                {
                    "ids": list(ids),
                    "before": list(before),
                    "after": list(after),
                    "changed": list(changed),
                    "task": task_id,
                },
            )
    return checked


_CHECKED: Final = load("lockers", "store_checked_coins")


def record_locked(rows: Sequence[Coin], told: Sequence[Told]) -> int:
    """
    Record which servers do not store coins of lockers that they store according to the rows; return how many coins.

    Only a server that holds the number from before the put certainly does not store it: one that holds neither number
    may have given the coin to a holder of the code. The lockers are repaired (`lockers.worker.repair`).
    """
    new: list[tuple[UUID, str, str, object]] = []
    refused = 0
    for row, each in zip(rows, told, strict=True):
        letters = "".join(
            "f" if letter == "p" and each.get(raida) is Reply.HAS_OLD else letter
            for raida, letter in enumerate(row.pown)
        )
        refused += letters != row.pown
        if letters != row.pown or sum(reply in _HELD for reply in each.values()) >= QUORUM:
            new.append((row.pk, row.pown, letters, row.changed_at))
    if new:
        with connection.cursor() as cursor:
            cursor.execute(_CHECKED_LOCKED, [list(column) for column in zip(*new, strict=True)])
    return refused


_HELD: Final = (Reply.HAS_OLD, Reply.HAS_NEW, Reply.HAS_NEITHER)

_CHECKED_LOCKED: Final = """
WITH checked AS (
    UPDATE lockers_coin AS coin SET pown = new.after, checked_at = now()
      FROM unnest(%s::uuid[], %s::text[], %s::text[], %s::timestamptz[]) AS new (id, before, after, changed_at)
     WHERE coin.id = new.id AND coin.pown = new.before AND coin.changed_at = new.changed_at
       AND coin.state = 'locked' AND coin.task_id IS NULL
    RETURNING coin.locker_id, new.before <> new.after AS is_thinner
)
UPDATE lockers_locker SET mend_at = now(), mends = 0 WHERE id IN (SELECT locker_id FROM checked WHERE is_thinner)
"""
