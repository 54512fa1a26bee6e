"""Putting coins into a locker, through every outcome of 25 servers."""

import pytest

from lockers import engine, errors, operations
from lockers.localnet.fleet import LocalNetwork
from lockers.models import Locker, LockerTask
from lockers.raida.coins import UNITS_PER_COIN
from lockers.raida.files import CoinRecord, write_bin
from tests.lockers.books import assert_true_to_the_servers, finish, states
from tests.lockers.conftest import Mint
from wallets.models import Wallet


def give(wallet: Wallet, records: list[CoinRecord]) -> None:
    task = finish(operations.start_import(actor=wallet, name=wallet.name, uploads=[("coins.bin", write_bin(records))]))
    assert task.state == "completed", task.message


def put(wallet: Wallet, amount: int, code: str | None = None) -> LockerTask:
    return finish(
        operations.start_put(
            actor=wallet, name=wallet.name, units=amount * UNITS_PER_COIN, tag="rent", transmit_code=code
        )
    )


def test_an_upload_stores_exactly_the_amount(network: LocalNetwork, mint: Mint, alice: Wallet) -> None:
    give(alice, mint(1, 1, 0, 0, -1))

    task = put(alice, 21)

    assert (task.state, task.progress, task.message) == ("completed", 100, "Stored.")
    assert task.result == {
        "total_stored": 21 * UNITS_PER_COIN, "total_failed": 0, "total_unknown": 0, "raida": "p" * 25,
    }  # fmt: skip
    assert states(alice) == {"locked": 3, "bank": 2}
    assert Locker.objects.get().state == "filled"
    assert_true_to_the_servers()


def test_bob_takes_what_alice_put(network: LocalNetwork, mint: Mint, alice: Wallet, bob: Wallet) -> None:
    give(alice, mint(1, 1, 0, 0))
    put(alice, 21, "THE-CODE-OF-ALICE")

    task = finish(operations.start_take(actor=bob, name="bob", code="THE-CODE-OF-ALICE"))

    assert (task.state, task.message, task.result["total"]) == ("completed", "Taken.", 21 * UNITS_PER_COIN)
    assert states(alice) == {"sent": 3, "bank": 1}
    assert states(bob) == {"bank": 3}
    assert Locker.objects.get().state == "emptied"
    assert_true_to_the_servers()
    with pytest.raises(errors.PeekFailed) as refusal:
        engine.peek(code="THE-CODE-OF-ALICE")
    assert refusal.value.extra == {
        "locker_key": "THE-CODE-OF-ALICE", "raida_success": 0, "raida_status_code": 242, "detail": "ALL_FAIL",
    }  # fmt: skip
