"""Batches that draw from one wallet at the same moment: each moves all its rows or none."""

from typing import Any

from tests.concurrency.races import assert_sound, kinds, race
from transfers import bulk, operations
from transfers.models import Transfer
from trusts import operations as trusts
from wallets.models import Token, Wallet


def rows(*sizes: int) -> list[bulk.Row]:
    return [bulk.Row(line + 2, f"tree-{line}", size) for line, size in enumerate(sizes)]


def send(alice: Wallet, wanted: list[bulk.Row]) -> Any:
    def attempt() -> str:
        bulk.transfer_batch(actor=alice, sender="alice", rows=wanted)
        return "moved"

    return attempt


def test_of_batches_that_ask_for_more_than_there_is_as_many_succeed_as_can(stocked: Wallet) -> None:
    # 40 tokens, 12 batches of 7: 5 can be had, 5 tokens stay.
    for number in range(3):
        trusts.open_managed_wallet(actor=stocked, name=f"tree-{number}")

    outcomes = race([send(stocked, rows(1, 2, 4))] * 12)

    assert kinds(outcomes) == {"moved": 5, "BatchUncovered": 7}
    assert sorted(Transfer.objects.values_list("token_count", flat=True)) == [1] * 5 + [2] * 5 + [4] * 5
    assert Token.objects.filter(wallet=stocked).count() == 5
    assert_sound()


def test_batches_and_single_transfers_share_a_wallet_without_a_deadlock(stocked: Wallet, sapling: Wallet) -> None:
    for number in range(3):
        trusts.open_managed_wallet(actor=stocked, name=f"tree-{number}")

    def single() -> str:
        operations.send_bundle(actor=stocked, sender="alice", receiver="sapling", size=3)
        return "moved"

    outcomes = race([send(stocked, rows(2, 1, 3)), single] * 8)

    assert set(kinds(outcomes)) <= {"moved", "BatchUncovered", "InsufficientTokens"}
    assert Token.objects.filter(wallet=stocked).count() < 6
    assert Token.objects.count() == 40
    assert_sound()


def test_batches_that_create_the_same_wallets_create_and_pay_them_once(stocked: Wallet) -> None:
    wanted = [bulk.Row(2, "oak", 1), bulk.Row(3, "elm", 2)]

    def create() -> str:
        done = bulk.create_batch(actor=stocked, rows=wanted, sender="alice")
        return f"{done.wallets} created, {len(done.existing)} exist"

    outcomes = race([create] * 8)

    assert kinds(outcomes) == {"2 created, 0 exist": 1, "0 created, 2 exist": 7}
    assert Wallet.objects.filter(name__in=["oak", "elm"]).count() == 2
    assert Token.objects.filter(wallet=stocked).count() == 37
    assert_sound()
