"""Payment requests by the package and by the command."""

from decimal import Decimal
from typing import Any

import pytest
from click.testing import CliRunner
from coppice_client import errors
from coppice_client.cli import payment_commands
from coppice_client.cli.app import coppice
from coppice_client.cli.session import Session

from lockers.models import LockerTask, Payment, PaymentRequest
from lockers.states import TaskState
from lockers.worker import finalize, task_store
from tests.api.caller import Caller
from tests.client_package.conftest import Network, lost_answer
from tests.lockers.stock import stock

URL = "https://trees.example.org"


@pytest.fixture(autouse=True)
def _lockers_are_on(settings: Any) -> None:
    settings.RAIDA_HOSTS = ["127.0.0.1:1"] * 25


@pytest.fixture
def run(network: Network, alice: Caller, bob: Caller, monkeypatch: pytest.MonkeyPatch) -> Any:
    """The command of alice, or of bob, who has nine coins."""
    assert bob.wallet is not None
    stock(bob.wallet, *[0] * 9)

    def run_as(caller: Caller, *arguments: str, typed: str = "") -> Any:
        monkeypatch.setenv("COPPICE_URL", URL)
        monkeypatch.setenv("COPPICE_TOKEN", str(caller.bearer))

        def connect(url: str, **_: Any) -> Any:
            return network.client(caller)

        session = Session(connect=connect)
        return CliRunner().invoke(coppice, ["payment-request", *arguments], input=typed, obj=session)

    return run_as


def fields(result: Any) -> dict[str, str]:
    assert result.exit_code == 0, result.output
    return dict(line.split("\t", 1) for line in result.stdout.splitlines())


def test_a_shop_asks_and_is_paid_by_calls(network: Network, alice: Caller, bob: Caller) -> None:
    assert bob.wallet is not None
    stock(bob.wallet, *[0] * 4, *[-1] * 10)
    with network.client(alice) as shop, network.client(bob) as payer:
        asked = shop.create_payment_request(Decimal("1.5"), "Two seedlings", mode="partial", reference="order 7")
        # The answer of the payment is lost on the way, and its repetition pays nothing.
        network.faults = [lost_answer]
        paid = payer.pay(asked["id"], amount=1)
        assert (paid["state"], paid["amount"]) == ("credited", 1)
        assert payer.payment(asked["id"], paid["id"]) == paid
        assert "reference" not in payer.payment_request(asked["id"])
        (found,) = shop.payment_requests(reference="order 7")
        assert (found["state"], found["paid"], found["outstanding"]) == ("partly_paid", 1, 0.5)
        with pytest.raises(errors.InvalidRequest) as refused:
            payer.pay(asked["id"], amount=1)
        assert (refused.value.code, refused.value.message) == (
            "payment_amount_refused", "A payment of this request is of at most 0.5; this one is of 1",
        )  # fmt: skip
        assert shop.cancel_payment_request(asked["id"])["state"] == "cancelled"
    assert Payment.objects.count() == 1


def test_the_command_asks_pays_lists_and_cancels(run: Any, alice: Caller, bob: Caller) -> None:
    made = fields(run(alice, "create", "5", "-d", "Two seedlings", "--reference", "order 7", "--expires-at", "7d"))
    assert (made["state"], made["amount"], made["reference"]) == ("open", "5", "order 7")

    # The link is as good as the id.
    seen = fields(run(bob, "show", made["link"]))
    assert (seen["payee"], seen["outstanding"], "reference" in seen) == ("alice", "5", False)
    paid = fields(run(bob, "pay", made["link"]))
    assert (paid["state"], paid["paid"]) == ("credited", "5")
    again = run(bob, "pay", made["id"])
    assert again.exit_code == 1
    assert "This payment request is paid" in again.stderr

    other = fields(run(alice, "create", "2", "-d", "A tree", "--partial"))
    assert fields(run(alice, "cancel", other["id"]))["state"] == "cancelled"
    listed = run(alice, "list", "--state", "paid").stdout.splitlines()
    assert [line.split("\t")[:5] for line in listed] == [[made["id"], "alice", "paid", "5", "5"]]
    assert run(bob, "list").stdout == ""


def test_a_code_is_read_from_stdin_and_never_from_the_command_line(
    run: Any, alice: Caller, bob: Caller, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(payment_commands, "_PATIENCE_SECONDS", 0)
    made = fields(run(alice, "create", "5", "-d", "Two seedlings"))

    refused = run(bob, "pay", made["id"], "7KQ4-M2XW-9TRD-HB6P")
    assert refused.exit_code == 2
    assert "7KQ4" not in refused.output
    for option in ("--amount", "--wallet"):
        assert run(bob, "pay", made["id"], "--locker", option, "1", typed="x\n").exit_code == 2
    assert run(bob, "pay", "7").exit_code == 2
    assert not Payment.objects.exists()

    pending = run(bob, "pay", made["id"], "--locker", typed="7KQ4-M2XW-9TRD-HB6P\n")
    # No worker runs in this test.
    assert pending.exit_code == 4
    assert "has not ended yet: Waiting for a worker" in pending.stderr
    assert Payment.objects.get().payer == bob.wallet
    assert PaymentRequest.objects.get().state == "open"


def test_a_payment_that_fails_while_it_is_waited_for_is_no_success(
    run: Any, alice: Caller, bob: Caller, monkeypatch: pytest.MonkeyPatch
) -> None:
    made = fields(run(alice, "create", "5", "-d", "Two seedlings"))

    def end(_: float) -> None:
        """What a worker does that finds no locker."""
        held = task_store.claim(task_id=LockerTask.objects.get(state="running").pk)
        assert held is not None
        finalize.finish(held=held, state=TaskState.ERROR, message="No locker with this code.", result={})

    monkeypatch.setattr(payment_commands.time, "sleep", end)
    failed = run(bob, "pay", made["id"], "--locker", typed="7KQ4-M2XW-9TRD-HB6P\n")

    assert failed.exit_code == 1
    told = dict(line.split("\t", 1) for line in failed.stdout.splitlines())
    assert (told["state"], told["paid"], told["message"]) == ("failed", "0", "No locker with this code.")
