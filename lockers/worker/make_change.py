"""
Making change for a put, as rows: what is still missing, what is broken next, the intent, the outcome.

Every function is one short transaction that begins with the fence of `lockers.worker.task_store`.
"""

import secrets
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from enum import Enum
from typing import Final

from django.db import transaction
from django.db.models import Count, Max, Min

from lockers import account_ledger, coin_breaks, coin_secrets, coin_selection
from lockers.account_ledger import Posting
from lockers.coin_breaks import FIRST_BREAK, POOL
from lockers.models import Coin, LockerTask
from lockers.raida.coins import Coin as WireCoin
from lockers.raida.payloads import CHANGE_COUNT
from lockers.raida.statuses import QUORUM, RAIDA_COUNT
from lockers.states import SPENDABLE, CoinState, LineType, Mark
from lockers.worker import task_store
from lockers.worker.messages import CoinWork
from lockers.worker.task_store import Claim

_UNASKED: Final = Mark.UNASKED * RAIDA_COUNT
# Serial numbers that a coin of this ledger has, or has given away with a code or a file that still works.
_TAKEN: Final = (
    CoinState.INCOMING,
    CoinState.BANK,
    CoinState.FRACKED,
    CoinState.LIMBO,
    CoinState.ERRORED,
    CoinState.CHANGE,
    CoinState.LOCKED,
    CoinState.EXPORTED,
)


class Next(Enum):
    """What a put needs before its coins can be sent."""

    NOTHING = "nothing"  # its coins make the amount
    BREAK = "break"  # a coin was reserved to be broken
    IMPOSSIBLE = "impossible"  # no coin that is left may be broken


def assemble(*, held: Claim) -> Next:
    """
    Give the put all change that fits into its amount; if something is missing, choose what to break next.

    :raises TaskSuperseded: another worker has the task
    """
    with transaction.atomic():
        task_store.fence(held)
        if open_break(held) is not None:
            return Next.BREAK
        task = LockerTask.objects.get(pk=held.task_id)
        coins = Coin.objects.filter(task=task)
        chosen = _counts(coins.filter(batch__gte=0).values_list("denomination").annotate(number=Count("id")))
        missing = (task.amount or 0) - coin_selection.total(chosen)
        if missing == 0:
            return Next.NOTHING
        pool = list(
            coins.filter(batch=POOL, state__in=SPENDABLE).select_for_update(no_key=True, of=("self",)).order_by("id")
        )
        last = coins.filter(batch__gte=0).aggregate(last=Max("batch"))["last"]
        for row in sorted(pool, key=lambda one: -one.denomination):
            if coin_selection.value_of(row.denomination) <= missing:
                missing -= coin_selection.value_of(row.denomination)
                pool.remove(row)
                # A handful more than a batch usually has; a batch of their own would cost a round trip.
                Coin.objects.filter(pk=row.pk, task=task).update(batch=last or 0, locker=task.locker)
        if missing == 0:
            return Next.NOTHING
        for row in sorted(pool, key=lambda one: one.denomination):
            if row.state == CoinState.BANK and coin_selection.value_of(row.denomination) > missing:
                lowest = coins.aggregate(lowest=Min("batch"))["lowest"]
                Coin.objects.filter(pk=row.pk, task=task).update(
                    batch=min(FIRST_BREAK, lowest - 1), family=row.pk, outcome=_UNASKED
                )
                return Next.BREAK
    return Next.IMPOSSIBLE


def _counts(rows: Collection[tuple[int, int]]) -> Mapping[int, int]:
    return dict(rows)


def open_break(held: Claim) -> int | None:
    """Return the batch of a break that is not settled."""
    batch: int | None = Coin.objects.filter(task_id=held.task_id, batch__lte=FIRST_BREAK).aggregate(last=Max("batch"))[
        "last"
    ]
    return batch


@dataclass(frozen=True, slots=True)
class Family:
    """A coin that is to be broken, and its ten, or none before serial numbers were chosen."""

    broken: CoinWork
    change: Sequence[CoinWork]

    @property
    def pieces(self) -> list[CoinWork]:
        """The coin first."""
        return [self.broken, *self.change]


def family(*, held: Claim, batch: int) -> Family:
    pieces: dict[bool, list[CoinWork]] = {True: [], False: []}
    for row in Coin.objects.filter(task_id=held.task_id, batch=batch).order_by("serial_number"):
        numbers = coin_secrets.open_numbers(row.secrets, coin_id=row.pk)
        pieces[row.state == CoinState.CHANGE].append(
            CoinWork(
                coin_id=row.pk,
                coin=WireCoin(row.denomination, row.serial_number),
                pown=row.pown,
                marks=row.outcome,
                old=numbers,
                new=numbers,
                releasing=row.releasing,
            )
        )
    (broken,) = pieces[False]
    return Family(broken, pieces[True])


def propose(*, held: Claim, batch: int, broken: CoinWork, votes: Mapping[int, int]) -> bool:
    """
    Commit the intent: the ten coins that a coin shall become, with fresh numbers.

    `votes` says how many servers name a serial number as free. Those that all name come first, and
    among them chance decides, so that others who break just now seldom choose the same. Returns
    False if 13 servers do not agree about ten, or another task of this ledger took one just now.

    :raises TaskSuperseded: another worker has the task
    """
    denomination = broken.coin.denomination - 1
    with transaction.atomic():
        task_store.fence(held)
        free = [number for number, count in votes.items() if count >= QUORUM]
        taken = set(
            Coin.objects.filter(denomination=denomination, serial_number__in=free, state__in=_TAKEN).values_list(
                "serial_number", flat=True
            )
        )
        free = [number for number in free if number not in taken]
        free.sort(key=lambda number: (-votes[number], secrets.randbits(32)))
        if len(free) < CHANGE_COUNT:
            return False
        task = LockerTask.objects.get(pk=held.task_id)
        rows = [
            Coin(
                wallet_id=task.wallet_id,
                denomination=denomination,
                serial_number=number,
                state=CoinState.CHANGE,
                origin="break",
                task=task,
                batch=batch,
                outcome=_UNASKED,
                family=broken.coin_id,
            )
            for number in sorted(free[:CHANGE_COUNT])
        ]
        for row in rows:
            row.secrets = coin_secrets.seal_numbers(coin_secrets.fresh_numbers(), coin_id=row.pk)
        Coin.objects.bulk_create(rows, ignore_conflicts=True)
        kept = Coin.objects.filter(pk__in=[row.pk for row in rows])
        if kept.count() < CHANGE_COUNT:
            kept.delete()
            return False
    return True


def finish_break(*, held: Claim, batch: int) -> bool:
    """
    Settle a break that was made for a put; its ten stay reserved. Returns whether the coin is broken.

    :raises TaskSuperseded: another worker has the task
    """
    with transaction.atomic():
        task_store.fence(held)
        task = LockerTask.objects.get(pk=held.task_id)
        settled = coin_breaks.settle(task=task, batch=batch, keep=True)
        broken = [denomination for state, denomination in settled.coins if state is CoinState.BROKEN]
        if broken:
            done = [*task.result.get("broken", []), *broken]
            LockerTask.objects.filter(pk=task.pk).update(result=task.result | {"broken": done})
        account_ledger.post(task_id=task.pk, postings=[Posting(task.wallet_id, settled.units, LineType.ADJUSTMENT)])
    return bool(broken)
