"""A task ends when 13 servers agree; a slow or dead server does not delay it."""

import time
from datetime import timedelta

import pytest
from django.db.models.functions import Now

from lockers.models import Attempt, Coin, ServerHealth
from lockers.operations import echo as echo_operation
from lockers.operations import take
from lockers.raida.commands import Command
from lockers.worker import circuit_breaker, peek
from tests.lockers.books import assert_true_to_the_servers, finish, states
from tests.lockers.conftest import Mint
from tests.lockers.patience import by_the_clock
from tests.support.coin_commands import give, put, refuse_puts
from tests.support.local_network import LocalNetwork
from wallets.models import Wallet

# So long that a test which waits for it fails by its own clock.
FOREVER = 60.0


@pytest.fixture
def patient(settings: object) -> None:
    """A timeout that is never reached if only 13 servers are waited for."""
    settings.RAIDA_TIMEOUT_SECONDS = FOREVER  # type: ignore[attr-defined]


def test_a_peek_answers_while_twelve_servers_are_silent(
    network: LocalNetwork, mint: Mint, alice: Wallet, patient: None, code: str
) -> None:
    give(alice, mint(1, 0, 0, 0))
    put(alice, 12, code)
    network.fault(range(12), "silent")

    began = time.monotonic()
    with by_the_clock():
        listing = peek.peek(actor_id=alice.pk, code=code)

    assert time.monotonic() - began < FOREVER / 3
    assert sorted(coin.denomination for coin in listing.coins) == [0, 0, 1]
    assert set(listing.statuses[:12]) == {Attempt.Unanswered.GIVEN_UP}


@pytest.mark.parametrize("fault", ["silent", "drop-reply", "delay:30"])
def test_a_put_is_done_while_twelve_servers_are_out(
    fault: str, network: LocalNetwork, mint: Mint, alice: Wallet, patient: None, code: str
) -> None:
    give(alice, mint(1, 0, 0, 0))
    network.fault(range(12), fault)

    began = time.monotonic()
    with by_the_clock():
        task = put(alice, 12, code)

    assert time.monotonic() - began < FOREVER / 3
    assert (task.state, task.result["raida"]) == ("completed", "w" * 12 + "p" * 13)
    assert network.seen(Command.FIND) == 0
    # Nothing is assumed about those that were not waited for.
    assert set(Coin.objects.filter(state="locked").values_list("pown", flat=True)) == {"n" * 12 + "p" * 13}
    network.clear()
    assert_true_to_the_servers()


def test_a_take_is_done_while_twelve_servers_are_out_and_keeps_both_numbers_for_them(
    network: LocalNetwork, mint: Mint, alice: Wallet, bob: Wallet, patient: None, code: str
) -> None:
    give(alice, mint(1, 0, 0, 0))
    put(alice, 12, code)
    network.fault(range(12), "delay:30")

    with by_the_clock():
        task = finish(take.start(actor=bob, name="bob", code=code))

    assert (task.state, task.message) == ("completed", "Taken.")
    assert states(bob) == {"bank": 3}
    rows = Coin.objects.filter(wallet=bob)
    assert [(row.pown, row.proposed is not None) for row in rows] == [("n" * 12 + "p" * 13, True)] * 3
    network.clear()
    assert_true_to_the_servers()


@pytest.mark.parametrize("fault", ["drop-reply", "silent"])
def test_a_put_is_done_by_servers_that_an_import_did_not_hear_of(
    fault: str, network: LocalNetwork, mint: Mint, alice: Wallet, bob: Wallet, code: str
) -> None:
    """Twelve may hold either number of each coin, and all but one of the thirteen that answered are gone since."""
    records = mint(1, 0, 0, 0)
    network.fault(range(12), fault)
    give(alice, records)
    assert set(Coin.objects.values_list("pown", flat=True)) == {"n" * 12 + "p" * 13}
    network.clear()
    network.fault(range(13, 25), "silent")

    task = put(alice, 12, code)

    assert (task.state, task.message, task.result["raida"]) == ("completed", "Stored.", "p" * 13 + "n" * 12)
    assert states(alice) == {"locked": 3, "bank": 1}
    network.clear()
    assert_true_to_the_servers()
    assert finish(take.start(actor=bob, name="bob", code=code)).message == "Taken."


def test_a_put_that_fails_keeps_what_servers_said_of_the_numbers_that_they_hold(
    network: LocalNetwork, mint: Mint, alice: Wallet, monkeypatch: pytest.MonkeyPatch
) -> None:
    records = mint(1, 0, 0, 0)
    network.fault(range(12), "drop-reply")
    give(alice, records)
    network.clear()
    refuse_puts(monkeypatch, [*range(1, 13), 24])

    task = put(alice, 12)

    assert (task.state, states(alice)) == ("error", {"bank": 4})
    used = Coin.objects.exclude(pown="n" * 12 + "p" * 13)
    assert [(row.pown, row.proposed) for row in used] == [("p" * 25, None)] * 3
    assert_true_to_the_servers()


def test_a_server_that_keeps_failing_is_spared_until_it_answers_again(
    network: LocalNetwork, mint: Mint, alice: Wallet
) -> None:
    records = mint(1, 0, 0, 0)
    network.fault(7, "silent")
    for _ in range(circuit_breaker.FAILURES_BEFORE_OPEN):
        ServerHealth.objects.update(probed_at=None)
        finish(echo_operation.start(actor=alice))
    (ailing,) = circuit_breaker.failing()
    assert (ailing.raida, ailing.silences) == (7, 3)
    assert ailing.rest_until is not None
    echo = finish(echo_operation.start(actor=alice))
    assert [each["raida"] for each in echo.result["ailing"]] == [7]

    network.forget_seen()
    give(alice, records)
    task = put(alice, 12)

    assert (network.seen(Command.POWN, 7), network.seen(Command.PUT, 7)) == (0, 0)
    assert (task.state, task.result["raida"], task.result["resting"]) == ("completed", "p" * 7 + "u" + "p" * 17, [7])
    circuit_breaker.probe()
    assert network.seen(Command.ECHO, 7) == 0

    network.clear()
    ServerHealth.objects.update(rest_until=Now() - timedelta(hours=1))
    circuit_breaker.probe()
    assert network.seen(Command.ECHO, 7) == 1
    assert circuit_breaker.failing() == []
    assert finish(echo_operation.start(actor=alice)).result["ailing"] == []


def test_with_too_few_servers_awake_all_are_asked(network: LocalNetwork, mint: Mint, alice: Wallet) -> None:
    for raida in range(9):
        ServerHealth.objects.create(raida=raida, silences=5, rest_until=Now() + timedelta(hours=1))
    assert circuit_breaker.Circuits.load().open == frozenset()

    ServerHealth.objects.filter(raida=8).delete()
    assert circuit_breaker.Circuits.load().open == frozenset(range(8))


def test_those_that_were_spared_are_asked_when_they_could_make_the_difference(
    network: LocalNetwork, mint: Mint, alice: Wallet
) -> None:
    give(alice, mint(1, 0, 0, 0))
    for raida in range(8):
        ServerHealth.objects.create(raida=raida, silences=5, rest_until=Now() + timedelta(hours=1))
    network.fault(range(8, 13), "status:242")

    task = put(alice, 12)

    assert (task.state, task.result["raida"]) == ("completed", "p" * 8 + "f" * 5 + "p" * 12)
    network.clear()
    assert_true_to_the_servers()


def test_an_import_asks_those_that_were_spared_when_they_could_make_the_difference(
    network: LocalNetwork, mint: Mint, alice: Wallet
) -> None:
    records = mint(1, 0, 0, 0)
    for raida in range(8):
        ServerHealth.objects.create(raida=raida, silences=5, rest_until=Now() + timedelta(hours=1))
    network.fault(range(8, 13), "status:242")

    give(alice, records)

    assert set(Coin.objects.values_list("state", "pown")) == {("fracked", "p" * 8 + "f" * 5 + "p" * 12)}
