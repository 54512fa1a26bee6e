"""Expired lockers under threads: one task for a locker, and each coin goes to one of those who want it."""

import pytest

from lockers import competing_claims, tasks
from lockers.models import Coin, Locker, LockerTask
from lockers.operations import take as take_coins
from lockers.operations import take_back
from lockers.raida.coins import Coin as WireCoin
from lockers.states import TaskState
from tests.concurrency.races import Gate, race
from tests.lockers.books import assert_true_to_the_servers, states
from tests.lockers.conftest import Mint
from tests.support.coin_commands import find, give
from tests.support.expiring_lockers import begin, fill, let_expire, steal_from, taken_back
from tests.support.local_network import LocalNetwork
from wallets.models import Wallet

pytestmark = pytest.mark.django_db(transaction=True)


@pytest.mark.parametrize("is_locked", [True, False], ids=["locked", "control"])
def test_of_two_processes_one_begins_the_task(
    network: LocalNetwork, mint: Mint, alice: Wallet, monkeypatch: pytest.MonkeyPatch, is_locked: bool
) -> None:
    give(alice, mint(1, 0, 0, 0))
    let_expire(fill(alice, 12))
    gate, start = Gate(2, held=is_locked), take_back._open

    def open_at_the_gate(locker: Locker) -> LockerTask | None:
        gate()
        return start(locker)

    monkeypatch.setattr(take_back, "_open", open_at_the_gate)
    if not is_locked:
        monkeypatch.setattr(
            take_back, "_lock_due", lambda locker_id: Locker.objects.select_related("wallet").get(pk=locker_id)
        )

    begun = race([take_back.start_due, take_back.start_due])

    assert sorted(map(len, begun)) == ([0, 1] if is_locked else [1, 1])
    assert LockerTask.objects.filter(kind="take").count() == (1 if is_locked else 2)


def work_until_all_is_known(wallets: list[Wallet], locker: Locker) -> None:
    """Do what the sweep and beat do, until no task is open and no coin is in doubt."""
    for _ in range(20):
        competing_claims.unpark(limit=100)
        for task_id in LockerTask.objects.filter(state=TaskState.RUNNING).values_list("pk", flat=True):
            tasks.run(str(task_id))
        for wallet in wallets:
            if Coin.objects.filter(wallet=wallet, state__in=["limbo", "errored"], task=None).exists():
                find(wallet)
        is_open = LockerTask.objects.filter(state=TaskState.RUNNING).exists()
        if not is_open and not Locker.objects.filter(pk=locker.pk, take_back_at__isnull=False).exists():
            return
        if not is_open:
            taken_back(locker)
    raise AssertionError("something is still not known")


def test_a_taker_here_and_the_sender_share_no_coin(
    network: LocalNetwork, mint: Mint, alice: Wallet, bob: Wallet, code: str
) -> None:
    give(alice, mint(1, 1, 0, 0))
    locker = fill(alice, 21, code)
    takes = take_coins.start(actor=bob, name="bob", code=code).task
    back = begin(locker)

    outcomes = race([lambda: tasks.run(str(takes.pk)), lambda: tasks.run(str(back.pk))])
    work_until_all_is_known([alice, bob], locker)

    assert outcomes == [None, None]
    mine = sum(number for state, number in states(alice).items() if state in ("bank", "fracked"))
    theirs = sum(number for state, number in states(bob).items() if state in ("bank", "fracked"))
    assert mine + theirs == 4
    assert theirs in (0, 3)
    locker.refresh_from_db()
    assert (locker.state, locker.returned) == ("emptied", 0 if theirs else 21 * 10**8)
    assert_true_to_the_servers()


def test_a_taker_outside_and_the_sender_share_no_coin(
    network: LocalNetwork, mint: Mint, alice: Wallet, code: str
) -> None:
    """The other program takes the coins on one server after the other, while the task is at work."""
    give(alice, mint(1, 1, 0, 0))
    locker = fill(alice, 21, code)
    back = begin(locker)
    rows = list(Coin.objects.filter(locker=locker))

    def steal() -> None:
        for raida in range(25):
            steal_from(network, locker, [raida], [WireCoin(row.denomination, row.serial_number) for row in rows])

    outcomes = race([steal, lambda: tasks.run(str(back.pk))])
    work_until_all_is_known([alice], locker)

    assert outcomes == [None, None]
    locker.refresh_from_db()
    assert (locker.state, locker.take_back_at) == ("emptied", None)
    back_again = Coin.objects.filter(wallet=alice, state__in=["bank", "fracked"], origin="take").count()
    assert locker.returned == sum(10 ** (row.denomination + 8) for row in rows) * bool(back_again)
    # The servers confirm what the rows say: what is spendable is held by 13, and the rest by the other program.
    assert_true_to_the_servers()
