"""
End tasks: the state of each coin, the receipt, the account and the result, in one transaction.

Lock order: the task, its coins, coins of other wallets that the task proves gone, earlier tasks that left some of its
coins open, lockers, payment requests, accounts.
"""

import json
import logging
from collections.abc import Callable, Iterable, Mapping, Sequence, Set
from dataclasses import dataclass, field, replace
from datetime import datetime
from secrets import token_hex
from typing import Any, Final, NamedTuple
from uuid import UUID, uuid4

from django.db import connection, transaction
from django.db.models import QuerySet
from django.db.models.functions import Now
from django.utils import timezone

from lockers import (
    account_ledger,
    coin_breaks,
    coin_outcomes,
    competing_claims,
    current_results,
    payment_ledger,
    queries,
    server_letters,
    task_events,
    task_results,
    vault,
)
from lockers.models import Coin, LockerTask
from lockers.raida.coins import Coin as WireCoin
from lockers.raida.coins import total_value, value_of
from lockers.raida.statuses import RAIDA_COUNT
from lockers.states import DOUBTFUL, SPENDABLE, CoinState, LineType, Mark, Step, TaskKind, TaskState, may_have_been
from lockers.task_results import Tally
from lockers.worker import late_answers, task_store
from lockers.worker.task_store import Claim, Settled
from wallets.sql_files import load

_log = logging.getLogger(__name__)

# Kinds that claim coins from outside.
_CLAIMING: Final = (TaskKind.TAKE, TaskKind.IMPORT)

# Kinds by which no coin comes into a wallet.
_KEEPS_COINS: Final = (TaskKind.PUT, TaskKind.FIX, TaskKind.TRANSFER, TaskKind.EXPORT)


# Hands the reserved coins of a task over, and returns what is added to its result.
Deliver = Callable[[LockerTask], Mapping[str, Any]]


def conclude(
    *,
    held: Claim,
    task: LockerTask | None = None,
    reason: str = "",
    further: Mapping[str, Any] | None = None,
    deliver: Deliver | None = None,
    settled: Sequence[Settled] = (),
    waits_on: bool = True,
    gone: Sequence[UUID] = (),
) -> TaskState:
    """
    Bring the task to its final state from the marks of its coins, and return that state.

    May be called at any step: a coin for which nothing was sent goes back as it was, one whose servers may hold either
    secret goes to limbo with both. `task` is its row, if this attempt has read it: only the claim's owner changes it.
    `reason` is shown to the user if the task did not succeed, and `further` is added to the result. With
    `deliver` the coins that a transfer or an export has reserved leave the wallet first. `settled` are attempts
    that are settled with it. Waiting claims are handed to a new task; without `waits_on` they are deleted. `gone` are
    coins in the task's locker that 13 servers have handed to another holder of its code.
    """
    with transaction.atomic():
        task_store.settle(held=held, settled=settled, marks={}, is_durable=True)
        task = task or LockerTask.objects.get(pk=held.task_id)
        coins = _CoinsOfTask(task)
        delivered = None
        if deliver is not None:
            try:
                delivered = deliver(task)
            except payment_ledger.Refused as refused:
                # Nothing has changed yet: the coins are released below.
                reason = str(refused)
        for batch, kinds in _kinds(task.id).items():
            if batch <= coin_breaks.FIRST_BREAK:
                coins.settle_break(batch)
            else:
                coins.settle_batch(batch, kinds)
        taken = _note_taken(gone)
        tally, passes = coins.tally, coins.passes
        followed = current_results.follow(later=task) if tally.had_doubtful else []
        _settle_lockers(coins.lockers)
        _note_returned(coins.returned)
        if coins.to_repair:
            _schedule_repair(coins.to_repair)
        left = leave_waiting(task, waits_on=waits_on) if task.kind in _CLAIMING else task_results.Left()
        is_taken_back = task.kind == TaskKind.TAKE and task.locker is not None
        rest = _rest(task, tally, taken) if is_taken_back else task_results.Rest()
        # The number of servers that answered matters only if no coin arrived.
        answered = RAIDA_COUNT if tally.count else task_results.servers_that_answered(task.id)
        state, message, result = task_results.verdict(task, tally, reason, delivered, left, rest, answered=answered)
        if any(coins.letters):
            result["raida"] = coin_outcomes.commonest(coins.letters)
        if passes:
            result["servers"] = {"fewest": min(passes), "most": max(passes)}
        if task.kind == TaskKind.PUT and len(passes) > 1:
            result["fewer"] = current_results.coins_on_fewer_servers(task_id=task.id)
        is_payment = _end(held, state, message, result | dict(further or {}), listens=bool(coins.awaited))
        if is_payment or followed:
            payment_ledger.settle(task_ids=[task.id, *followed], is_admitted=delivered is not None)
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


def _hand_on(task: LockerTask) -> UUID:
    """Hand the waiting claims of a task to a new parked task of the same kind, and return its id."""
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
        locker_id=task.locker_id,
        code=None if task.code is None else vault.seal_task_code(vault.task_code(task), task_id=successor_id),
        receipt_id=token_hex(16),
        deadline=begun + competing_claims.PATIENCE + task_store.time_for(number),
        plan={
            "waits_since": begun.isoformat(),
            **{name: task.plan[name] for name in ("payment_request", "anonymous") if name in task.plan},
        },
        result={"files": []}
        if task.kind == TaskKind.IMPORT
        else {name: task.result[name] for name in ("spelling",) if name in task.result},
        request_id=task.request_id,
    )
    competing_claims.hand_on(task_id=task.pk, successor_id=successor_id)
    if "payment_request" in task.plan:
        payment_ledger.hand_on(task_id=task.pk, successor_id=successor_id)
    return successor_id


def leave_waiting(task: LockerTask, *, waits_on: bool) -> task_results.Left:
    """Hand the claims for which an ending task waits on to a new task, or delete them, and return what it leaves."""
    known, waiting = competing_claims.left_of(task_id=task.pk)
    if not waiting:
        return task_results.Left(units=known)
    if waits_on:
        return task_results.Left(known, waiting, _hand_on(task))
    competing_claims.give_up(task_id=task.pk)
    return task_results.Left(known, waiting)


class _Kind(NamedTuple):
    """What decides how a coin ends; most coins of a batch are of one kind."""

    is_put: bool
    state: str
    pown: str
    outcome: str
    releasing: bool
    origin: str


@dataclass(slots=True)
class _Alike:
    """The coins of one kind: how many of each denomination, and the lockers that they are put into."""

    counts: dict[int, int] = field(default_factory=dict)
    lockers: set[UUID] = field(default_factory=set)

    @property
    def number(self) -> int:
        return sum(self.counts.values())

    @property
    def units(self) -> int:
        return total_value(self.counts)


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


class _CoinsOfTask:
    """Ends the coins of a task batch by batch, and adds up what its result says of them."""

    def __init__(self, task: LockerTask) -> None:
        self._task = task
        attempts = task_store.attempts(task.id)
        self._said = task_store.said(attempts)
        # The servers of each batch that may still answer.
        self.awaited = task_store.not_waited_for(attempts)
        self.tally = Tally.empty()
        # For each server, how many coins have which letter there.
        self.letters = [dict[str, int]() for _ in range(RAIDA_COUNT)]
        # On how many servers coins are stored.
        self.passes: set[int] = set()
        # The lockers whose contents change, and those whose coins some servers lack.
        self.lockers: set[UUID] = set() if task.locker_id is None else {task.locker_id}
        self.to_repair: set[UUID] = set()
        # The units that came back from lockers into the wallet that had filled them.
        self.returned: dict[UUID, int] = {}

    def settle_break(self, batch: int) -> None:
        """Settle one broken coin and its ten."""
        settled = coin_breaks.settle(task=self._task, batch=batch, keep=False)
        self.tally.spendable_before += settled.spendable_before
        self.tally.had_doubtful |= settled.had_doubtful
        for state, denomination in settled.coins:
            self.tally.add(state, {denomination: 1})
        if self._task.kind != TaskKind.PUT:
            self._count_letters(settled.shown, 1)

    def settle_batch(self, batch: int, kinds: Mapping[_Kind, _Alike]) -> None:
        """Settle one batch of coins."""
        task = self._task
        changes: dict[coin_outcomes.Ending, dict[_Kind, coin_outcomes.Ending]] = {}
        arrived: list[_Kind] = []
        marks: dict[_Kind, str] = {}
        for kind, alike in kinds.items():
            marks[kind] = task_store.covered(kind.outcome, kind.pown, self._said.get(batch, ()))
            ending = _ending(task, kind, marks[kind])
            if awaited := self.awaited.get(batch):
                ending = replace(ending, shown=_with_those_awaited(ending.shown, awaited))
            self.lockers |= alike.lockers
            self._add(batch, kind, alike, ending)
            if ending.state is None:
                _of_kind(task.id, batch, kind).filter(state=CoinState.INCOMING).delete()
                continue
            if ending.state in SPENDABLE and task.kind not in _KEEPS_COINS:
                arrived.append(kind)
            changes.setdefault(replace(ending, pown="", shown=""), {})[kind] = ending
        came = [WireCoin(*row) for kind in arrived for row in _identities(task.id, batch, kind)]
        for change, endings in changes.items():
            number = sum(kinds[kind].number for kind in endings)
            _settle_coins(task, batch, change, endings, number, marks)
        if came:
            self._note_departures(came)

    def _note_departures(self, came: Sequence[WireCoin]) -> None:
        for locker_id, giver_id, denomination in _note_departures(came):
            self.lockers.add(locker_id)
            if giver_id == self._task.wallet_id:
                self.returned[locker_id] = self.returned.get(locker_id, 0) + value_of(denomination)

    def _add(self, batch: int, kind: _Kind, alike: _Alike, ending: coin_outcomes.Ending) -> None:
        """Add the coins of one kind to the sums."""
        tally, number, units = self.tally, alike.number, alike.units
        tally.had_doubtful |= kind.state in DOUBTFUL
        if batch != coin_breaks.POOL:
            # Change that a put did not need was not sent to the servers.
            self._count_letters(ending.shown, number)
        if kind.state in SPENDABLE:
            tally.spendable_before += units
        if ending.state is None:
            return
        tally.add(ending.state, alike.counts)
        if ending.pown == "p" * RAIDA_COUNT:
            tally.whole += number
        if ending.state is CoinState.LIMBO and kind.is_put:
            tally.units_for_locker_in_limbo += units
        stored = (CoinState.LOCKED,) if self._task.kind == TaskKind.PUT else (CoinState.LOCKED, *SPENDABLE)
        if ending.state in stored and batch != coin_breaks.POOL:
            passes = ending.pown.count("p")
            self.passes.add(passes)
            if ending.state is CoinState.LOCKED and passes < RAIDA_COUNT:
                self.to_repair |= alike.lockers

    def _count_letters(self, shown: str, number: int) -> None:
        for counts, letter in zip(self.letters, shown, strict=False):
            counts[letter] = counts.get(letter, 0) + number


def _with_those_awaited(shown: str, awaited: Set[int]) -> str:
    return "".join(
        server_letters.NOT_WAITED_FOR if letter == "n" and raida in awaited else letter
        for raida, letter in enumerate(shown)
    )


def _ending(task: LockerTask, kind: _Kind, marks: str) -> coin_outcomes.Ending:
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
    marks: Mapping[_Kind, str],
) -> None:
    """
    Release coins of some kinds in their new state, and write a receipt line for each.

    Sealed numbers are moved between columns without being decrypted where possible.
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
        numbers = {kind: _numbers_to_keep(task, change.secrets, marks[kind], batch, kind) for kind in endings}
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


_SETTLE_COINS, _SETTLE_KINDS = (
    load("lockers", "settle", new=load("lockers", f"parts/{part}")) for part in ("coins_by_id", "coins_by_kind")
)


def _numbers_to_keep(
    task: LockerTask, kept: coin_outcomes.Secrets, marks: str, batch: int, kind: _Kind
) -> dict[UUID, _Sealed]:
    """Return what is sealed again, so that `secrets` has the number of each server, and `proposed` what it may hold."""
    rows = _of_kind(task.id, batch, kind)
    if kept is coin_outcomes.Secrets.REVERTED:
        return {
            row.pk: _Sealed(None, vault.seal_numbers(vault.locker_keys(row.locker), coin_id=row.pk))
            for row in rows.select_related("locker")
            if row.locker is not None
        }
    # The keys of a put's locker are in no coin's row yet; the numbers that a take or an import proposed are.
    keys = vault.locker_keys(task.locker) if task.kind == TaskKind.PUT and task.locker else None
    found: dict[UUID, _Sealed] = {}
    for coin_id, secrets, proposed in rows.values_list("id", "secrets", "proposed"):
        held = None
        if kept is not coin_outcomes.Secrets.BOTH:
            old = vault.open_numbers(secrets, coin_id=coin_id)
            new = keys or vault.open_numbers(proposed or b"", coin_id=coin_id)
            held = [new[raida] if marks[raida] == Mark.NEW else old[raida] for raida in range(RAIDA_COUNT)]
        found[coin_id] = _Sealed(
            None if held is None else vault.seal_numbers(held, coin_id=coin_id),
            None if keys is None else vault.seal_numbers(keys, coin_id=coin_id),
        )
    return found


def _of_kind(task_id: UUID, batch: int, kind: _Kind) -> QuerySet[Coin]:
    about = kind._asdict()
    is_put = about.pop("is_put")
    return Coin.objects.filter(task_id=task_id, batch=batch, locker__isnull=not is_put, **about)


def _identities(task_id: UUID, batch: int, kind: _Kind) -> Iterable[tuple[int, int]]:
    return _of_kind(task_id, batch, kind).values_list("denomination", "serial_number")


def _note_departures(coins: Sequence[WireCoin]) -> list[tuple[UUID, UUID, int]]:
    """
    Mark coins that a wallet now holds as sent from the lockers and files they were in.

    Return the locker of each that was in one, the wallet that had put it there, and its denomination.
    """
    with connection.cursor() as cursor:
        # By identity, so that the plan is an index scan and never a self-join.
        cursor.execute(
            "UPDATE lockers_coin AS coin SET state = 'sent', changed_at = now()"
            " FROM unnest(%s::smallint[], %s::bigint[]) AS gone(denomination, serial_number)"
            " WHERE coin.denomination = gone.denomination AND coin.serial_number = gone.serial_number"
            " AND coin.state IN ('locked', 'exported') RETURNING coin.locker_id, coin.wallet_id, coin.denomination",
            [[coin.denomination for coin in coins], [coin.serial_number for coin in coins]],
        )
        return [row for row in cursor.fetchall() if row[0] is not None]


def _note_taken(coin_ids: Sequence[UUID]) -> int:
    """Mark coins that another holder of the code took out of their locker as sent, and return their units."""
    if not coin_ids:
        return 0
    # Rows that have a claim by now are left out: it was committed before its first request, and its task decides.
    rows = competing_claims.unclaimed(Coin.objects.filter(pk__in=coin_ids, state=CoinState.LOCKED)).order_by("id")
    taken = list(rows.select_for_update(no_key=True, of=("self",)).values_list("pk", "denomination"))
    Coin.objects.filter(pk__in=[coin_id for coin_id, _ in taken]).update(state=CoinState.SENT, changed_at=Now())
    return sum(value_of(denomination) for _, denomination in taken)


def _rest(task: LockerTask, tally: Tally, taken: int) -> task_results.Rest:
    """Return what a task that takes an expired locker's coins back did not get."""
    left = queries.count_by_denomination(Coin.objects.filter(locker=task.locker, state=CoinState.LOCKED))
    # A coin in limbo is reported as such.
    return task_results.Rest(taken, max(0, total_value(left) - tally.units_of(*DOUBTFUL)))


def _settle_lockers(locker_ids: set[UUID]) -> None:
    """Set the states of lockers from the states of their coins."""
    with connection.cursor() as cursor:
        # A separate statement counts, and sees what was committed while this one waited for locks.
        cursor.execute(
            "SELECT id FROM lockers_locker WHERE id = ANY(%s) ORDER BY id FOR NO KEY UPDATE", [list(locker_ids)]
        )
        cursor.execute(
            "UPDATE lockers_locker SET state = known.state, changed_at = now(),"
            "       take_back_at = CASE WHEN known.state NOT IN ('emptied', 'failed') THEN take_back_at END"
            "  FROM (SELECT locker.id,"
            "               CASE WHEN bool_or(coin.state = 'locked') THEN 'filled'"
            "                    WHEN bool_or(coin.state IN ('limbo', 'bank', 'fracked')) THEN 'unknown'"
            "                    WHEN bool_or(coin.state = 'sent') THEN 'emptied' ELSE 'failed' END AS state"
            "          FROM lockers_locker AS locker LEFT JOIN lockers_coin AS coin ON coin.locker_id = locker.id"
            "         WHERE locker.id = ANY(%s) GROUP BY locker.id) AS known"
            " WHERE lockers_locker.id = known.id AND lockers_locker.state <> known.state",
            [list(locker_ids)],
        )


def _note_returned(returned: Mapping[UUID, int]) -> None:
    """Record the units that came back into the wallets that filled lockers, whose rows are locked."""
    if not returned:
        return
    with connection.cursor() as cursor:
        cursor.execute(
            "UPDATE lockers_locker SET returned = returned + new.units, returned_at = now()"
            "  FROM unnest(%s::uuid[], %s::bigint[]) AS new(id, units) WHERE lockers_locker.id = new.id",
            [list(returned), list(returned.values())],
        )


def _schedule_repair(locker_ids: Set[UUID]) -> None:
    """Schedule the repair of lockers that some servers lack, after late answers may have arrived."""
    with connection.cursor() as cursor:
        cursor.execute(
            "UPDATE lockers_locker SET mend_at = now() + interval '0.5 seconds', mends = 0 WHERE id = ANY(%s)",
            [list(locker_ids)],
        )


def finish(*, held: Claim, state: TaskState, message: str, result: dict[str, Any]) -> None:
    """End a task that holds no coins, such as a peek."""
    with transaction.atomic():
        task_store.fence(held)
        listens = server_letters.NOT_WAITED_FOR in result.get("raida", "")
        if _end(held, state, message, result, listens=listens):
            payment_ledger.settle(task_ids=[held.task_id])
    _log.info("Task %s ended: %s", held.task_id, state)


def _end(held: Claim, state: TaskState, message: str, result: Mapping[str, Any], *, listens: bool = False) -> bool:
    """Write the end of a task, and return whether it was to pay a payment request."""
    with connection.cursor() as cursor:
        cursor.execute(
            # An import whose deadline passed before its files were read still has them.
            "WITH read AS (DELETE FROM lockers_upload WHERE id = %s)"
            " UPDATE lockers_lockertask SET state = %s, step = %s, message = %s, result = result || %s::jsonb,"
            " lease_until = NULL, finished_at = now(), seen_at = NULL,"
            " progress = CASE WHEN %s THEN 100 ELSE progress END,"
            " listens_until = CASE WHEN %s THEN now() + make_interval(secs => %s) END,"
            # The payer's: the payee may begin the task again with it.
            " code = CASE WHEN plan ? 'payment_request' THEN NULL ELSE code END"
            " WHERE id = %s RETURNING kind, wallet_id, locker_id, result, plan ? 'payment_request'",
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
        kind, wallet_id, locker_id, stored, is_payment = cursor.fetchone()
    task_events.record_settled(
        task_id=held.task_id,
        kind=kind,
        wallet_id=wallet_id,
        locker_id=locker_id,
        state=state,
        result=json.loads(stored),
    )
    return bool(is_payment)
