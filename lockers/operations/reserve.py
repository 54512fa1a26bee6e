"""Choosing free coins that make an amount, and reserving them for a task."""

from collections.abc import Mapping, Sequence
from typing import Any, Final
from uuid import UUID

from django.db import connection

from lockers import coin_selection, errors, queries
from lockers.coin_breaks import FIRST_BREAK
from lockers.models import Coin, Locker, LockerTask
from lockers.operations.new_task import Started, open_task
from lockers.raida.coins import format_amount, total_value
from lockers.raida.statuses import RAIDA_COUNT
from lockers.states import SPENDABLE, CoinState, Mark, TaskKind
from lockers.worker.task_store import BATCH_COINS
from wallets.audit import listed
from wallets.models import Wallet

# Attempts to lock chosen coins: between the count and the lock other transactions may take some.
_ATTEMPTS: Final = 3


# Breaking down to the smallest coin takes up to 14 calls more: the deadline counts each like a batch of coins.
COINS_FOR_BREAKS: Final = 14 * BATCH_COINS


def lock_coins_or_break(wallet: Wallet, units: int, *, at_most: int) -> tuple[list[UUID], UUID | None]:
    """
    Choose and lock free coins worth exactly `units`, bank coins before fracked ones.

    If no set makes the amount, lock as many coins as fit, and a larger one to break for the rest. Return the ids of the
    coins, and of the coin to break or None.

    :raises NotEnoughCoins, NoExactChange, CoinsBusy, InvalidLockerRequest: as for `put.start`
    """
    for _ in range(_ATTEMPTS):
        free = queries.free_counts_by_state(wallet_id=wallet.pk)
        available = queries.in_any_state(free)
        wanted = coin_selection.choose(available, units)
        if wanted is not None:
            _refuse_too_many(sum(wanted.values()), at_most=at_most)
            locked = _lock_free(wallet, wanted)
            if len(locked) == sum(wanted.values()):
                return locked, None
            # Others took some in between: count again. This attempt's locks are kept and count for the next one.
            continue
        plan = coin_selection.choose_to_break(available, free.get(CoinState.BANK, {}), units)
        if plan is None:
            refuse_while_fixing(wallet, available, units)
            _refuse_amount(available, units)
        assert plan is not None
        wanted, denomination = plan
        # Breaking adds nine coins for each of at most fourteen denominations.
        _refuse_too_many(sum(wanted.values()), at_most=at_most, besides=9 * 14)
        to_break = lock_one_to_break(wallet, denomination)
        if to_break is None:
            continue
        # One more of the broken coin's denomination than needed, in case that it is among them.
        found = _lock_free(wallet, {each: count + (each == denomination) for each, count in wanted.items()})
        locked = _as_many_as(wanted, [coin_id for coin_id in found if coin_id != to_break])
        if len(locked) == sum(wanted.values()):
            return locked, to_break
    raise errors.CoinsBusy("Other uploads have locked the same coins; try again in a moment")


def _refuse_too_many(number: int, *, at_most: int, besides: int = 0) -> None:
    if number + besides > at_most:
        raise errors.InvalidLockerRequest(f"This amount needs {number} coins; at most {at_most} go at once")


def _lock_free(wallet: Wallet, wanted: Mapping[int, int]) -> list[UUID]:
    """Lock up to `wanted[denomination]` free coins of each denomination that are not locked, and return their ids."""
    with connection.cursor() as cursor:
        cursor.execute(_LOCK_FREE, [list(wanted), list(wanted.values()), wallet.pk])
        return [row[0] for row in cursor.fetchall()]


# The states are constants, as in the index of free coins.
_LOCK_FREE: Final = f"""
SELECT coin.id FROM unnest(%s::smallint[], %s::int[]) AS want(denomination, number)
CROSS JOIN LATERAL (
    SELECT id FROM lockers_coin
     WHERE wallet_id = %s AND denomination = want.denomination AND task_id IS NULL
       AND state IN {listed(SPENDABLE)}
     ORDER BY state, id LIMIT want.number FOR NO KEY UPDATE SKIP LOCKED) AS coin
"""  # noqa: S608 - constants


def lock_one_to_break(wallet: Wallet, denomination: int) -> UUID | None:
    """Lock the free bank coin that most servers accept, and return its id; None if there is none."""
    free = Coin.objects.filter(wallet=wallet, denomination=denomination, state=CoinState.BANK, task=None)
    best = free.order_by("-passes", "id").select_for_update(no_key=True, skip_locked=True, of=("self",))
    return best.values_list("id", flat=True).first()


def refuse_while_fixing(wallet: Wallet, available: Mapping[int, int], units: int) -> None:
    """
    Raise CoinsBusy instead of a refusal for lack of coins if a running fix holds enough of them.

    :raises CoinsBusy: see above
    """
    fixing = Coin.objects.filter(wallet=wallet, state__in=SPENDABLE, task__kind=TaskKind.FIX)
    counts = queries.count_by_denomination(fixing)
    if counts and total_value(available) + total_value(counts) >= units:
        raise errors.CoinsBusy("Coins of this wallet are being repaired; try again in a moment")


def _as_many_as(wanted: Mapping[int, int], coin_ids: Sequence[UUID]) -> list[UUID]:
    left = dict(wanted)
    kept = []
    rows = dict(Coin.objects.filter(pk__in=coin_ids).values_list("id", "denomination"))
    for coin_id in coin_ids:
        if left.get(rows[coin_id], 0):
            left[rows[coin_id]] -= 1
            kept.append(coin_id)
    return kept


def _refuse_amount(available: Mapping[int, int], units: int) -> None:
    total = total_value(available)
    if total < units:
        raise errors.NotEnoughCoins(
            f"Not enough coins: {format_amount(total)} of {format_amount(units)} are free in this wallet"
        )
    below, above = coin_selection.below_and_above(available, units)
    possible = " or ".join(format_amount(each) for each in (below, above) if each)
    raise errors.NoExactChange(
        f"The coins in this wallet cannot make {format_amount(units)} exactly; the nearest are {possible}"
    )


def reserve_coins(coin_ids: Sequence[UUID], *, task: LockerTask, locker: Locker | None = None) -> None:
    with connection.cursor() as cursor:
        cursor.execute(
            "UPDATE lockers_coin SET task_id = %s, locker_id = %s, outcome = %s,"
            " batch = ((chosen.position - 1) / %s)::smallint"
            " FROM unnest(%s::uuid[]) WITH ORDINALITY AS chosen(id, position)"
            " WHERE lockers_coin.id = chosen.id AND lockers_coin.task_id IS NULL",
            [task.pk, None if locker is None else locker.pk, Mark.UNASKED * RAIDA_COUNT, BATCH_COINS, list(coin_ids)],
        )
        if cursor.rowcount != len(coin_ids):
            raise errors.CoinsBusy("Other uploads reserved the same coins first; try again")


def reserve_to_break(coin_id: UUID, *, task: LockerTask) -> None:
    free = Coin.objects.filter(pk=coin_id, task=None, state=CoinState.BANK)
    if not free.update(task=task, batch=FIRST_BREAK, outcome=Mark.UNASKED * RAIDA_COUNT, family=coin_id):
        raise errors.CoinsBusy("Another upload reserved the same coin first; try again")


def open_after_break(
    kind: TaskKind, coin_ids: Sequence[UUID], to_break: UUID, *, plan: dict[str, Any], **asked: Any
) -> Started:
    """Insert an open task that has a coin broken first and then does the rest of `plan`, and reserve its coins."""
    task = open_task(kind, coins=len(coin_ids) + COINS_FOR_BREAKS, plan=plan | {"breaks": True}, **asked)
    reserve_coins(coin_ids, task=task)
    reserve_to_break(to_break, task=task)
    return Started(task)
