"""Payment requests: from a wallet, by a code, in part, late; and what every ending leaves in the rows."""

from datetime import timedelta
from typing import Any
from uuid import uuid4

import pytest
from django.db import connection
from django.db.models.functions import Now
from django.utils import timezone

from lockers import account_ledger, audit, errors, fair_queue, payment_ledger, task_recovery, tasks, wrong_code_limits
from lockers.errors import TaskSuperseded
from lockers.models import Account, Coin, Locker, LockerTask, Payment, PaymentRequest, StatementLine
from lockers.operations import payment_requests as operations
from lockers.operations import take, transfer
from lockers.raida.coins import UNITS_PER_COIN
from lockers.states import CoinState, PaymentMode
from lockers.worker import broadcast, finalize, incoming, peek, runner, task_store
from lockers.worker.take import reserve_listed
from tests.lockers.books import assert_true_to_the_servers, states
from tests.lockers.conftest import Mint
from tests.lockers.stock import stock
from tests.support.coin_commands import find, give, put
from tests.support.local_network import LocalNetwork
from trusts import operations as trusts
from wallets import errors as wallet_errors
from wallets.models import Event, Wallet

pytestmark = [pytest.mark.django_db, pytest.mark.usefixtures("no_wrong_codes")]


def ask(payee: Wallet, coins: int = 5, *, mode: PaymentMode = PaymentMode.SINGLE, **more: Any) -> PaymentRequest:
    return operations.create(
        actor=payee, name=None, units=coins * UNITS_PER_COIN, description="Two seedlings", mode=mode, **more
    )


def now(request: PaymentRequest) -> tuple[str, int]:
    request.refresh_from_db()
    return request.state, request.paid // UNITS_PER_COIN


def events(payee: Wallet) -> list[tuple[str, int]]:
    """The kinds of the payee's events about payment requests, each with what was paid so far."""
    rows = Event.objects.filter(wallet=payee, type__startswith="payment_request.").order_by("number")
    return [(row.type.removeprefix("payment_request."), row.payload["paid"]) for row in rows]


def balance(wallet: Wallet) -> int:
    account = Account.objects.filter(wallet=wallet).first()
    return int(account.balance) // UNITS_PER_COIN if account else 0


def books() -> list[Any]:
    models = (Coin, LockerTask, StatementLine, Account, Payment, PaymentRequest, Event, Locker)
    return [list(model.objects.order_by("pk").values()) for model in models]


def assert_sound() -> None:
    assert list(audit.audit_findings()) == []


def let_expire(request: PaymentRequest) -> None:
    PaymentRequest.objects.filter(pk=request.pk).update(expires_at=Now() - timedelta(seconds=1))


# From a wallet of this ledger.


def test_a_payment_from_a_wallet_moves_the_exact_amount_and_is_credited_at_once(alice: Wallet, bob: Wallet) -> None:
    stock(bob, 0, 0, 0, 0, 0, 1)
    request = ask(alice, reference="order-1")

    payment = operations.pay(actor=bob, request_id=request.pk)

    assert (payment.state, payment.units, payment.payer, payment.is_late) == (
        "credited",
        5 * UNITS_PER_COIN,
        bob,
        False,
    )
    assert now(request) == ("paid", 5)
    assert request.closed_at is not None
    assert (balance(alice), balance(bob)) == (5, 10)
    assert events(alice) == [("paid", 5)]
    payload = Event.objects.get(type="payment_request.paid").payload
    assert (payload["reference"], payload["paymentId"]) == ("order-1", str(payment.pk))
    assert_sound()


def test_a_payment_that_was_in_time_when_it_was_decided_is_not_late(
    alice: Wallet, bob: Wallet, monkeypatch: pytest.MonkeyPatch
) -> None:
    stock(bob, *[0] * 5)
    request, move = ask(alice, expires_at=timezone.now() + timedelta(hours=1)), transfer.move

    def move_and_expire(**asked: Any) -> Any:
        let_expire(request)
        return move(**asked)

    monkeypatch.setattr(transfer, "move", move_and_expire)

    payment = operations.pay(actor=bob, request_id=request.pk)

    assert (payment.state, payment.is_late, now(request)) == ("credited", False, ("paid", 5))
    assert events(alice) == [("paid", 5)]
    assert_sound()


@pytest.mark.parametrize("coins", [4, 6])
def test_a_single_payment_is_of_exactly_the_amount(coins: int, alice: Wallet, bob: Wallet) -> None:
    stock(bob, *[0] * 9)
    request = ask(alice)
    before = books()

    with pytest.raises(errors.PaymentAmountRefused, match=f"exactly 5; this one is of {coins}"):
        operations.pay(actor=bob, request_id=request.pk, units=coins * UNITS_PER_COIN)

    assert books() == before


def test_parts_add_up_to_the_amount_and_never_beyond(alice: Wallet, bob: Wallet) -> None:
    stock(bob, *[0] * 9)
    request = ask(alice, mode=PaymentMode.PARTIAL)

    operations.pay(actor=bob, request_id=request.pk, units=2 * UNITS_PER_COIN)
    assert now(request) == ("partly_paid", 2)
    with pytest.raises(errors.PaymentAmountRefused, match="at most 3; this one is of 4"):
        operations.pay(actor=bob, request_id=request.pk, units=4 * UNITS_PER_COIN)
    operations.pay(actor=bob, request_id=request.pk)

    assert now(request) == ("paid", 5)
    assert events(alice) == [("partly_paid", 2), ("paid", 5)]
    with pytest.raises(errors.PaymentRequestClosed, match="is paid"):
        operations.pay(actor=bob, request_id=request.pk)
    assert balance(bob) == 4
    assert_sound()


def test_only_who_controls_a_wallet_pays_from_it(alice: Wallet, bob: Wallet, charlie: Wallet) -> None:
    stock(bob, *[0] * 5)
    sapling = trusts.open_managed_wallet(actor=charlie, name="sapling")
    stock(sapling, *[0] * 5)
    request = ask(alice)
    before = books()

    with pytest.raises(wallet_errors.WalletNotControlled):
        operations.pay(actor=charlie, request_id=request.pk, name="bob")
    with pytest.raises(errors.SameWallets):
        operations.pay(actor=alice, request_id=request.pk)
    with pytest.raises(errors.PaymentRequestNotFound):
        operations.pay(actor=bob, request_id=uuid4())
    assert books() == before

    assert operations.pay(actor=charlie, request_id=request.pk, name="sapling").payer == sapling
    assert_sound()


def test_a_wallet_that_cannot_pay_learns_why(network: LocalNetwork, alice: Wallet, bob: Wallet) -> None:
    request = ask(alice)
    stock(bob, 0)
    with pytest.raises(errors.NotEnoughCoins, match="1 of 5 are free"):
        operations.pay(actor=bob, request_id=request.pk)
    stock(bob, *[1] * 2, state=CoinState.FRACKED)
    with pytest.raises(errors.NoExactChange, match="the nearest are 1 or 10"):
        operations.pay(actor=bob, request_id=request.pk)
    assert now(request) == ("open", 0)
    assert not Payment.objects.exists()


def test_a_coin_is_broken_for_the_exact_amount(network: LocalNetwork, mint: Mint, alice: Wallet, bob: Wallet) -> None:
    give(bob, mint(1, 0, 0, 0))
    request = ask(alice)

    payment = operations.pay(actor=bob, request_id=request.pk)
    assert (payment.state, payment.expected, now(request)) == ("pending", 5 * UNITS_PER_COIN, ("open", 0))
    with pytest.raises(errors.PaymentInProgress):
        operations.pay(actor=bob, request_id=request.pk)
    tasks.run(str(payment.task_id))

    payment.refresh_from_db()
    assert (payment.state, now(request), balance(alice), balance(bob)) == ("credited", ("paid", 5), 5, 8)
    assert events(alice) == [("paid", 5)]
    assert_sound()
    assert_true_to_the_servers()


@pytest.mark.parametrize("how", ["cancelled", "expired"])
def test_coins_stay_with_the_payer_if_the_request_closes_while_one_is_broken(
    how: str, network: LocalNetwork, mint: Mint, alice: Wallet, bob: Wallet
) -> None:
    give(bob, mint(1, 0, 0, 0))
    request = ask(alice)
    payment = operations.pay(actor=bob, request_id=request.pk)
    if how == "cancelled":
        operations.cancel(actor=alice, request_id=request.pk)
    else:
        let_expire(request)

    tasks.run(str(payment.task_id))

    payment.refresh_from_db()
    assert (payment.state, payment.units, now(request)) == ("failed", 0, (how, 0))
    task = LockerTask.objects.get(pk=payment.task_id)
    assert (task.state, task.message) == (
        "error",
        f"Nothing has left the wallet. The payment request is {how}; nothing was moved.",
    )
    assert (balance(alice), balance(bob)) == (0, 13)
    assert events(alice) == [(how, 0)]
    assert_sound()


def test_a_payment_with_a_broken_coin_that_was_admitted_in_time_is_not_late(
    network: LocalNetwork, mint: Mint, alice: Wallet, bob: Wallet, monkeypatch: pytest.MonkeyPatch
) -> None:
    give(bob, mint(1))
    request, admit = ask(alice, expires_at=timezone.now() + timedelta(hours=1)), payment_ledger.admit
    payment = operations.pay(actor=bob, request_id=request.pk)

    def admit_and_expire(**asked: Any) -> None:
        admit(**asked)
        let_expire(request)

    monkeypatch.setattr(payment_ledger, "admit", admit_and_expire)
    tasks.run(str(payment.task_id))

    payment.refresh_from_db()
    assert (payment.state, payment.is_late, now(request)) == ("credited", False, ("paid", 5))
    assert events(alice) == [("paid", 5)]
    assert_sound()


# By a transmit code.


@pytest.fixture
def filled(network: LocalNetwork, mint: Mint, charlie: Wallet, code: str) -> str:
    """The code of a locker with 5 coins of 1."""
    give(charlie, mint(*[0] * 5))
    assert put(charlie, 5, code).state == "completed"
    return code


def pay_with(code: str, request: PaymentRequest, actor: Wallet | None = None, address: str = "") -> Payment:
    return operations.pay_with_code(actor=actor, request_id=request.pk, code=code, address=address)


def run(payment: Payment) -> LockerTask:
    tasks.run(str(payment.task_id))
    payment.refresh_from_db()
    return LockerTask.objects.get(pk=payment.task_id)


def test_a_code_pays_when_the_coins_have_been_authenticated(filled: str, alice: Wallet) -> None:
    request = ask(alice)

    payment = pay_with(filled, request)
    assert (payment.state, payment.expected, now(request)) == ("pending", 0, ("open", 0))
    task = run(payment)

    assert (task.state, task.code) == ("completed", None)
    assert (payment.state, payment.units, now(request)) == ("credited", 5 * UNITS_PER_COIN, ("paid", 5))
    assert (balance(alice), events(alice)) == (5, [("paid", 5)])
    assert_sound()
    assert_true_to_the_servers()


@pytest.mark.parametrize(
    ("asked", "mode", "message"),
    [
        (4, "single", "The coins are worth 5, and the payment request takes exactly 4 now; nothing was moved."),
        (6, "single", "The coins are worth 5, and the payment request takes exactly 6 now; nothing was moved."),
        (4, "partial", "The coins are worth 5, and the payment request takes at most 4 now; nothing was moved."),
    ],
)
def test_a_locker_with_another_amount_is_left_as_it_is(
    asked: int, mode: str, message: str, filled: str, alice: Wallet, bob: Wallet
) -> None:
    request = ask(alice, asked, mode=PaymentMode(mode))

    payment = pay_with(filled, request, bob)
    task = run(payment)

    assert (task.state, task.message, task.code) == ("error", message, None)
    assert (payment.state, now(request), balance(alice)) == ("failed", ("open", 0), 0)
    assert Locker.objects.get().state == "filled"
    assert not Coin.objects.filter(wallet=alice).exists()
    # Nor may an operator begin it again, which would take the coins without the request.
    assert task_recovery.state_of(task)["left_to_do"] == ""
    assert_sound()


def test_a_locker_pays_a_part(filled: str, alice: Wallet) -> None:
    request = ask(alice, 7, mode=PaymentMode.PARTIAL)
    run(pay_with(filled, request))
    assert (now(request), events(alice)) == (("partly_paid", 5), [("partly_paid", 5)])
    assert_sound()


@pytest.mark.parametrize("how", ["cancelled", "expired"])
def test_a_request_that_closes_before_the_take_refuses_it(how: str, filled: str, alice: Wallet) -> None:
    request = ask(alice)
    payment = pay_with(filled, request)
    if how == "cancelled":
        operations.cancel(actor=alice, request_id=request.pk)
    else:
        let_expire(request)

    task = run(payment)

    assert (task.state, task.message) == ("error", f"The payment request is {how}; nothing was moved.")
    assert (payment.state, now(request), balance(alice)) == ("failed", (how, 0), 0)
    assert Locker.objects.get().state == "filled"
    assert_sound()


@pytest.mark.parametrize("how", ["cancelled", "expired"])
def test_coins_that_move_already_are_credited_late(
    how: str, filled: str, alice: Wallet, monkeypatch: pytest.MonkeyPatch
) -> None:
    request = ask(alice)
    payment = pay_with(filled, request)
    admit = payment_ledger.admit

    def admit_and_close(**about: Any) -> None:
        admit(**about)
        if how == "cancelled":
            operations.cancel(actor=alice, request_id=request.pk)
        else:
            let_expire(request)

    monkeypatch.setattr(payment_ledger, "admit", admit_and_close)
    run(payment)

    assert (payment.state, payment.units, payment.is_late) == ("credited", 5 * UNITS_PER_COIN, True)
    assert (now(request), balance(alice)) == ((how, 5), 5)
    assert events(alice) == [(how, 0), ("paid_late", 5)]
    assert_sound()


def test_coins_in_limbo_are_credited_when_a_find_has_settled_them(
    network: LocalNetwork, filled: str, alice: Wallet, bob: Wallet
) -> None:
    request = ask(alice)
    payment = pay_with(filled, request)
    _reserve_and_die(payment, filled)
    network.fault(range(13), "drop-reply")

    run(payment)
    assert (payment.state, payment.units, payment.expected) == ("pending", 0, 5 * UNITS_PER_COIN)
    assert (states(alice), now(request)) == ({"limbo": 5}, ("open", 0))
    stock(bob, *[0] * 5)
    begun = LockerTask.objects.count()
    with pytest.raises(errors.PaymentInProgress):
        operations.pay(actor=bob, request_id=request.pk)
    with pytest.raises(errors.PaymentInProgress):
        pay_with("abc-another-locker", request)
    assert (LockerTask.objects.count(), Payment.objects.count()) == (begun, 1)
    assert_sound()

    network.clear()
    find(alice)

    payment.refresh_from_db()
    assert (payment.state, now(request), events(alice)) == ("credited", ("paid", 5), [("paid", 5)])
    assert_sound()


def _reserve_and_die(payment: Payment, code: str) -> None:
    """The first attempt of a worker, which ends after it has saved the coins of the locker."""
    held = task_store.claim(task_id=payment.task_id)
    assert held is not None
    listing, keys, _ = peek.look_into(code, broadcast.servers())
    reserve_listed(held=held, wallet_id=payment.task.wallet_id, coins=sorted(listing.coins), keys=keys, pays=True)
    LockerTask.objects.filter(pk=payment.task_id).update(lease_until=None)


# What a killed worker leaves.


class Killed(BaseException):
    """Ends a worker at a line, as SIGKILL does: what is not committed is lost."""


STEPS = {
    "before the look": (peek, "look", True),
    "before the coins are promised": (payment_ledger, "admit", True),
    "after the coins are promised": (payment_ledger, "admit", False),
    "before the coins move": (incoming, "move_in", True),
    "after the coins have moved": (incoming, "move_in", False),
    "before the credit": (payment_ledger, "settle", True),
    "after the credit": (payment_ledger, "settle", False),
    "before the commit": (account_ledger, "post", False),
}


@pytest.mark.parametrize("step", STEPS)
def test_a_worker_that_is_killed_credits_once(
    step: str, filled: str, alice: Wallet, monkeypatch: pytest.MonkeyPatch
) -> None:
    request = ask(alice)
    payment = pay_with(filled, request)
    module, name, is_before = STEPS[step]
    do = getattr(module, name)

    def do_and_die(*args: Any, **kwargs: Any) -> Any:
        if not is_before:
            do(*args, **kwargs)
        raise Killed

    with monkeypatch.context() as patch:
        patch.setattr(module, name, do_and_die)
        with pytest.raises(Killed):
            tasks.run(str(payment.task_id))
    assert (now(request), events(alice)) == (("open", 0), [])
    LockerTask.objects.filter(pk=payment.task_id).update(lease_until=None)

    run(payment)

    assert (payment.state, payment.units, now(request)) == ("credited", 5 * UNITS_PER_COIN, ("paid", 5))
    assert (balance(alice), events(alice)) == (5, [("paid", 5)])
    assert_sound()
    assert_true_to_the_servers()


def test_a_worker_that_was_taken_over_credits_nothing(filled: str, alice: Wallet) -> None:
    request = ask(alice)
    payment = pay_with(filled, request)
    _reserve_and_die(payment, filled)
    first = task_store.claim(task_id=payment.task_id)
    assert first is not None
    LockerTask.objects.filter(pk=payment.task_id).update(lease_until=None)
    second = task_store.claim(task_id=payment.task_id)
    assert second is not None
    before = books()

    with pytest.raises(TaskSuperseded):
        runner.run(first)
    assert books() == before
    runner.run(second)
    assert now(request) == ("paid", 5)
    after = books()
    with pytest.raises(TaskSuperseded):
        finalize.conclude(held=second)
    assert books() == after


def test_settling_a_payment_again_changes_nothing(filled: str, alice: Wallet) -> None:
    request = ask(alice)
    payment = pay_with(filled, request)
    run(payment)
    before = books()
    payment_ledger.settle(task_ids=[payment.task_id])
    payment_ledger.settle(task_ids=[payment.task_id])
    assert books() == before


PLANTED = {
    "payment request was paid what its payments brought": (PaymentRequest, {"paid": 6 * UNITS_PER_COIN}),
    "payment brought what the coins of its task are worth": (Payment, {"units": 6 * UNITS_PER_COIN}),
    "payment is pending while it may still bring coins": (
        Payment,
        {"expected": UNITS_PER_COIN, "state": "credited"},
    ),
    "payment brings coins to the payee": (LockerTask, {"plan": {}}),
}


@pytest.mark.parametrize("check", PLANTED)
def test_the_audit_compares_payments_with_coins(check: str, alice: Wallet, bob: Wallet) -> None:
    stock(bob, *[0] * 5)
    operations.pay(actor=bob, request_id=ask(alice).pk)
    model, values = PLANTED[check]
    with connection.cursor() as cursor:
        cursor.execute("SET CONSTRAINTS ALL IMMEDIATE")
        cursor.execute("ALTER TABLE lockers_payment DROP CONSTRAINT payment_state_fits_its_units")
    rows = model.objects.filter(plan__has_key="payment_request") if model is LockerTask else model.objects.all()
    rows.update(**values)

    assert check in {finding.check for finding in audit.audit_findings()}


# Closing.


def test_only_who_controls_the_payee_cancels(alice: Wallet, bob: Wallet) -> None:
    request = ask(alice)
    before = books()
    with pytest.raises(errors.PaymentRequestNotFound):
        operations.cancel(actor=bob, request_id=request.pk)
    assert books() == before

    assert operations.cancel(actor=alice, request_id=request.pk).closed_at is not None
    assert (now(request), events(alice)) == (("cancelled", 0), [("cancelled", 0)])
    with pytest.raises(errors.PaymentRequestClosed, match="is cancelled"):
        operations.cancel(actor=alice, request_id=request.pk)


def test_requests_expire_by_themselves(alice: Wallet, bob: Wallet) -> None:
    stock(bob, *[0] * 5)
    with pytest.raises(errors.PaymentExpiryPassed):
        ask(alice, expires_at=timezone.now())
    passed, coming, paid = ask(alice), ask(alice, expires_at=timezone.now() + timedelta(hours=1)), ask(alice)
    operations.pay(actor=bob, request_id=paid.pk)
    let_expire(passed)
    let_expire(paid)

    # The row is decided by the clock, whenever the sweep runs.
    with pytest.raises(errors.PaymentRequestClosed, match="is expired"):
        operations.pay(actor=bob, request_id=passed.pk)
    assert now(passed) == ("open", 0)
    assert operations.expire_due() == 1
    assert operations.expire_due() == 0

    assert [now(each)[0] for each in (passed, coming, paid)] == ["expired", "open", "paid"]
    assert events(alice) == [("paid", 5), ("expired", 0)]
    assert_sound()


def test_the_sweep_reads_the_index_of_those_that_expire(db: None) -> None:
    with connection.cursor() as cursor:
        cursor.execute("SET LOCAL enable_seqscan = off")
        cursor.execute(f"EXPLAIN {operations._DUE}", [100])
        plan = "\n".join(line for (line,) in cursor.fetchall())
    assert "payment_request_to_expire" in plan


def test_codes_without_a_login_are_bounded_and_never_count_against_the_payee(
    network: LocalNetwork, alice: Wallet, settings: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(operations, "OPEN_CODES_PER_PAYEE", 2)
    settings.WRONG_CODES_PER_ADDRESS = 2
    settings.WRONG_CODES_PER_WALLET = 1
    request, address = ask(alice), str(uuid4())
    payments = [pay_with(f"abc-no-such-{uuid4()}", request, address=address) for _ in range(2)]
    with pytest.raises(errors.TooManyPayments):
        pay_with("abc-no-such", request, address=address)

    for payment in payments:
        assert run(payment).state == "error"

    with pytest.raises(errors.TooManyWrongCodes):
        pay_with("abc-no-such", request, address=address)
    wrong_code_limits.refuse_guesser(wallet_id=alice.pk, address="")


def test_a_code_counts_for_the_wallet_that_sends_it_and_for_the_payee_without_a_login(
    alice: Wallet, bob: Wallet
) -> None:
    request = ask(alice)
    for sender, actor in ((bob, bob), (None, alice)):
        payment = pay_with(f"abc-{actor.name}", request, sender)

        assert (payment.payer, payment.task.actor_id, payment.task.wallet_id) == (sender, actor.pk, alice.pk)
        assert ("anonymous" in payment.task.plan) == (sender is None)


def test_codes_are_bounded_by_open_payments_to_the_same_payee(
    alice: Wallet, bob: Wallet, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(operations, "OPEN_CODES_PER_PAYEE", 1)
    take.start(actor=alice, name="alice", code="abc-own-take")
    pay_with("abc-of-another", ask(bob))
    ended = pay_with("abc-ended", ask(alice))
    LockerTask.objects.filter(pk=ended.task_id).update(
        state="error", step="done", message="Ended.", finished_at=timezone.now()
    )

    pay_with("abc-first", ask(alice))

    begun = LockerTask.objects.count()
    with pytest.raises(errors.TooManyPayments):
        pay_with("abc-second", ask(alice))
    assert LockerTask.objects.count() == begun


def test_codes_without_a_login_leave_the_payee_room_for_its_own_tasks(
    network: LocalNetwork, alice: Wallet, settings: Any
) -> None:
    settings.OPEN_TASKS_PER_WALLET = 1
    request = ask(alice)
    for _ in range(2):
        pay_with(f"abc-no-such-{uuid4()}", request)

    fair_queue.admit(actor_id=alice.pk)

    pay_with("abc-no-such", ask(alice), actor=alice)
    with pytest.raises(errors.TooManyTasks):
        fair_queue.admit(actor_id=alice.pk)


@pytest.mark.parametrize("has_login", [False, True])
def test_a_locker_with_another_amount_cannot_be_sent_without_end_without_a_login(
    filled: str, alice: Wallet, bob: Wallet, settings: Any, has_login: bool
) -> None:
    settings.WRONG_CODES_PER_ADDRESS = 2
    request, address = ask(alice, 3), str(uuid4())
    for _ in range(2):
        assert run(pay_with(filled, request, bob if has_login else None, address)).state == "error"

    if has_login:
        # It has the limits of its wallet.
        assert run(pay_with(filled, request, bob, address)).state == "error"
    else:
        with pytest.raises(errors.TooManyWrongCodes):
            pay_with(filled, request, None, address)
    assert Locker.objects.get().state == "filled"
