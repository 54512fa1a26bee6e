"""
The rows of a break and their final states. Each function is a part of its caller's transaction.

The rows of a break form one batch: the coin to be broken and, once the intent is committed, the ten that it becomes,
whose `secrets` are the numbers proposed for them. All eleven have the same marks.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

from django.db.models.functions import Now

from lockers import coin_outcomes, vault
from lockers.models import Coin, LockerTask, ReceiptLine
from lockers.raida.coins import value_of
from lockers.raida.statuses import RAIDA_COUNT
from lockers.states import DOUBTFUL, SPENDABLE, CoinState, Mark, may_become

# Batches of a task's coins have numbers from 0 up. This one holds change that is reserved and not selected yet,
POOL: Final = -1
# and the numbers of breaks count down from this one.
FIRST_BREAK: Final = -2


@dataclass(frozen=True, slots=True)
class Settled:
    """The result of a break: the state and denomination of each coin, and 25 letters for the server grid."""

    coins: Sequence[tuple[CoinState, int]]
    spendable_before: int
    shown: str
    # Whether an earlier task had left the coin in limbo.
    had_doubtful: bool

    @property
    def units(self) -> int:
        """The change of the wallet's balance, in units of 10^-8."""
        after = sum(value_of(denomination) for state, denomination in self.coins if state in SPENDABLE)
        return after - self.spendable_before


def settle(*, task: LockerTask, batch: int, keep: bool) -> Settled:
    """
    End a break from the present marks of its rows, and write the lines of its receipt.

    The coin is released. With `keep` its ten stay reserved for the task, otherwise they are released too.
    """
    rows = list(
        Coin.objects.filter(task=task, batch=batch)
        .order_by("id")
        .select_for_update(no_key=True, of=("self",))
        .defer("secrets", "proposed")
    )
    (big,) = (row for row in rows if row.state != CoinState.CHANGE)
    ten = [row for row in rows if row.state == CoinState.CHANGE]
    ending = (
        _ending_of_release(big)
        if big.releasing
        else coin_outcomes.ending_of_break(state=CoinState(big.state), marks=big.outcome, pown=big.pown)
    )
    spendable_before = value_of(big.denomination) if big.state in SPENDABLE else 0
    if ending.broken in SPENDABLE:
        # The break was not carried out: the coin leaves its family.
        Coin.objects.filter(pk=big.pk).update(family=None)
    _release(big, ending.broken, ending.pown)
    coins = [(ending.broken, big.denomination)]
    lines = [_line(task, big, ending.broken, coin_outcomes.shown(big.outcome))]
    if ending.change is None:
        Coin.objects.filter(pk__in=[row.pk for row in ten], state=CoinState.CHANGE).delete()
    for row in ten if ending.change is not None else ():
        state = ending.change
        assert state is not None
        if keep and state in SPENDABLE:
            _become(row, state, pown=ending.change_pown, batch=POOL, outcome=Mark.UNASKED * RAIDA_COUNT)
        else:
            _release(row, state, ending.change_pown)
        if state in SPENDABLE:
            coins.append((state, row.denomination))
            if not keep:
                lines.append(_line(task, row, state, ending.change_pown))
    ReceiptLine.objects.bulk_create(lines)
    return Settled(coins, spendable_before, coin_outcomes.shown(big.outcome), big.state in DOUBTFUL)


def _ending_of_release(big: Coin) -> coin_outcomes.BreakEnding:
    """Return the ending of a coin that was not broken and receives fresh numbers before it may be spent."""
    ending = coin_outcomes.ending_of_release(big.outcome, big.pown)
    fields: dict[str, object] = {"releasing": ending.stays_releasing}
    if ending.secrets is coin_outcomes.Secrets.REVERTED:
        fields["proposed"] = None
    elif not ending.stays_releasing:
        row = Coin.objects.only("secrets", "proposed", "outcome").get(pk=big.pk)
        old = vault.open_numbers(row.secrets, coin_id=row.pk)
        new = vault.open_numbers(row.proposed or b"", coin_id=row.pk)
        held = [new[raida] if row.outcome[raida] == Mark.NEW else old[raida] for raida in range(RAIDA_COUNT)]
        fields["secrets"] = vault.seal_numbers(held, coin_id=row.pk)
        if ending.secrets is coin_outcomes.Secrets.MIXED:
            fields["proposed"] = None
    Coin.objects.filter(pk=big.pk).update(**fields)
    assert ending.state is not None
    change = CoinState.VOID if ending.state in SPENDABLE else CoinState.CHANGE
    return coin_outcomes.BreakEnding(ending.state, ending.pown, change, "n" * RAIDA_COUNT)


def _release(row: Coin, state: CoinState, pown: str) -> None:
    _become(row, state, pown=pown, task=None, batch=None, outcome="")


def _become(row: Coin, state: CoinState, **fields: object) -> None:
    if not may_become(CoinState(row.state), state):
        raise AssertionError(f"a coin that is {row.state} cannot become {state}")
    changed = Coin.objects.filter(pk=row.pk, state=row.state, task_id=row.task_id).update(
        state=state, changed_at=Now(), **fields
    )
    if changed != 1:
        raise AssertionError("a coin of a break was changed by another transaction")


def _line(task: LockerTask, row: Coin, state: CoinState, letters: str) -> ReceiptLine:
    return ReceiptLine(
        task=task, denomination=row.denomination, serial_number=row.serial_number, pown=letters, state=state
    )
