"""Settle the coins of a task that ends, batch by batch: state, sealed numbers, receipt."""

from collections.abc import Iterable, Mapping, Sequence, Set
from dataclasses import dataclass, field, replace
from typing import Any, Final, NamedTuple
from uuid import UUID

from django.db import connection
from django.db.models import QuerySet

from lockers import (
    coin_breaks,
    coin_outcomes,
    server_letters,
    vault,
)
from lockers.models import Coin, LockerTask
from lockers.raida.coins import Coin as WireCoin
from lockers.raida.coins import total_value, value_of
from lockers.raida.statuses import RAIDA_COUNT
from lockers.states import DOUBTFUL, SPENDABLE, CoinState, Mark, TaskKind, may_have_been
from lockers.task_results import Tally
from lockers.worker import task_store
from wallets.sql_files import load

# Kinds by which no coin comes into a wallet.
_KEEPS_COINS: Final = (TaskKind.PUT, TaskKind.FIX, TaskKind.TRANSFER, TaskKind.EXPORT)


class Kind(NamedTuple):
    """What decides how a coin ends; most coins of a batch are of one kind."""

    is_put: bool
    state: str
    pown: str
    outcome: str
    releasing: bool
    origin: str


@dataclass(slots=True)
class Alike:
    """The coins of one kind: how many of each denomination, and the lockers that they are put into."""

    counts: dict[int, int] = field(default_factory=dict)
    lockers: set[UUID] = field(default_factory=set)

    @property
    def number(self) -> int:
        return sum(self.counts.values())

    @property
    def units(self) -> int:
        return total_value(self.counts)


def kinds_of_batches(task_id: UUID) -> dict[int, dict[Kind, Alike]]:
    """Lock all coins of a task, and return the kinds of each batch."""
    found: dict[int, dict[Kind, Alike]] = {}
    with connection.cursor() as cursor:
        cursor.execute(_KINDS, [task_id])
        for batch, denomination, locker_id, count, *kind in cursor.fetchall():
            alike = found.setdefault(batch, {}).setdefault(Kind(*kind), Alike())
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


class CoinsOfTask:
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

    def settle_batch(self, batch: int, kinds: Mapping[Kind, Alike]) -> None:
        """Settle one batch of coins."""
        task = self._task
        changes: dict[coin_outcomes.Ending, dict[Kind, coin_outcomes.Ending]] = {}
        arrived: list[Kind] = []
        marks: dict[Kind, str] = {}
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

    def _add(self, batch: int, kind: Kind, alike: Alike, ending: coin_outcomes.Ending) -> None:
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


def _ending(task: LockerTask, kind: Kind, marks: str) -> coin_outcomes.Ending:
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
    endings: Mapping[Kind, coin_outcomes.Ending],
    number: int,
    marks: Mapping[Kind, str],
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
        **{f"of_{name}": list(column) for name, column in zip(Kind._fields, zip(*endings, strict=True), strict=True)},
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
    task: LockerTask, kept: coin_outcomes.Secrets, marks: str, batch: int, kind: Kind
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


def _of_kind(task_id: UUID, batch: int, kind: Kind) -> QuerySet[Coin]:
    about = kind._asdict()
    is_put = about.pop("is_put")
    return Coin.objects.filter(task_id=task_id, batch=batch, locker__isnull=not is_put, **about)


def _identities(task_id: UUID, batch: int, kind: Kind) -> Iterable[tuple[int, int]]:
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
