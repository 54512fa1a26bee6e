"""Races for trusts. Each has a control without the lock, which shows the race."""

import threading
from typing import Any

import pytest
from django.db import connection

from tests.concurrency.races import PATIENCE_SECONDS, Gate, kinds, race, wait_until_waiting
from trusts import management_rules, operations, queries
from trusts.models import Trust, TrustChange
from trusts.states import OPEN, TrustRequestType
from wallets import deadlocks
from wallets import operations as wallets
from wallets.models import Wallet


@pytest.fixture
def without_locks(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(operations, "_lock_pair", lambda *_: None)


@pytest.fixture
def looked_before_anybody_writes(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    """Let both contestants have found nothing in the way before either goes on, if no lock keeps them from it."""
    gate = Gate(2, held="without_locks" not in request.fixturenames)
    for module, name in ((operations, "_is_prevented"), (management_rules, "would_manage_each_other")):
        look = getattr(module, name)

        def look_and_wait(*args: Any, look: Any = look, **kwargs: Any) -> Any:
            found = look(*args, **kwargs)
            gate()
            return found

        monkeypatch.setattr(module, name, look_and_wait)


def ask(asking: Any, request_type: Any, answering: Any) -> Any:
    return lambda: operations.request_trust(
        actor=asking, request_type=TrustRequestType(request_type), requestee=answering.name
    )


def test_of_16_identical_requests_one_is_stored(alice: Wallet, bob: Wallet) -> None:
    outcomes = race([ask(alice, "send", bob)] * 16)

    assert kinds(outcomes) == {"requested": 1, "TrustAlreadyExists": 15}
    assert (Trust.objects.count(), TrustChange.objects.count()) == (1, 1)


def test_row_26_the_constraint_alone_stores_one_of_16(
    alice: Wallet, bob: Wallet, without_locks: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(operations, "_is_prevented", lambda **_: False)

    outcomes = race([ask(alice, "send", bob)] * 16)

    assert kinds(outcomes) == {"requested": 1, "TrustAlreadyExists": 15}
    assert Trust.objects.count() == 1


def test_control_without_lock_and_constraint_both_of_two_are_stored(
    alice: Wallet, bob: Wallet, without_locks: None, looked_before_anybody_writes: None
) -> None:
    with connection.cursor() as cursor:
        cursor.execute("SELECT indexdef FROM pg_indexes WHERE indexname = 'trust_open_once'")
        definition = cursor.fetchone()[0]
        cursor.execute("DROP INDEX trust_open_once")
    try:
        assert kinds(race([ask(alice, "send", bob)] * 2)) == {"requested": 2}
    finally:
        with connection.cursor() as cursor:
            cursor.execute("TRUNCATE trusts_trust, trusts_trustchange")
            cursor.execute(definition)


OPPOSITE = [("send", "receive"), ("send", "manage"), ("manage", "yield")]


@pytest.mark.parametrize(("mine", "his"), OPPOSITE)
def test_of_two_opposite_requests_one_is_stored(
    alice: Wallet, bob: Wallet, mine: Any, his: Any, looked_before_anybody_writes: None
) -> None:
    outcomes = race([ask(alice, mine, bob), ask(bob, his, alice)])

    assert kinds(outcomes) == {"requested": 1, "TrustAlreadyExists": 1}
    assert Trust.objects.count() == 1


def test_control_without_the_lock_both_opposite_requests_are_stored(
    alice: Wallet, bob: Wallet, without_locks: None, looked_before_anybody_writes: None
) -> None:
    assert kinds(race([ask(alice, "send", bob), ask(bob, "receive", alice)])) == {"requested": 2}


def circle(alice: Any, bob: Any) -> Any:
    there, back = ask(alice, "manage", bob)(), ask(bob, "manage", alice)()
    return race(
        [
            lambda: operations.accept_trust(actor=bob, trust_id=there.id),
            lambda: operations.accept_trust(actor=alice, trust_id=back.id),
        ]
    )


def test_two_wallets_never_come_to_manage_each_other(
    alice: Wallet, bob: Wallet, looked_before_anybody_writes: None
) -> None:
    assert kinds(circle(alice, bob)) == {"trusted": 1, "ManagementCircle": 1}


def test_control_without_the_lock_two_wallets_come_to_manage_each_other(
    alice: Wallet, bob: Wallet, without_locks: None, looked_before_anybody_writes: None
) -> None:
    assert kinds(circle(alice, bob)) == {"trusted": 2}


@pytest.mark.parametrize("event", ["decline_trust", "delete_trust"])
def test_accept_and_its_opposite_come_one_after_the_other(alice: Wallet, bob: Wallet, event: str) -> None:
    trust = ask(alice, "send", bob)()
    actor = bob if event == "decline_trust" else alice

    outcomes = race(
        [
            lambda: operations.accept_trust(actor=bob, trust_id=trust.id),
            lambda: getattr(operations, event)(actor=actor, trust_id=trust.id),
        ]
    )

    cancelled = "cancelled_by_target" if event == "decline_trust" else "cancelled_by_originator"
    assert kinds(outcomes) == {"trusted": 1, cancelled: 1}
    stored = Trust.objects.get()
    assert not isinstance(outcomes[0], Exception)
    last = TrustChange.objects.order_by("id").last()
    assert stored.state == last.state
    assert TrustChange.objects.count() == 3


# The end of control, while the manager is at work: what it does comes before the end, or is refused.


@pytest.fixture(params=["both locks", "that of the wallets", "that of the control", "none"])
def locks(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> Any:
    """The lock on the wallets and that on the trust that gives the control: each keeps the order."""
    if request.param in ("that of the control", "none"):
        monkeypatch.setattr(operations, "_lock_pair", lambda *_: None)
    if request.param in ("that of the wallets", "none"):
        monkeypatch.setattr(queries, "controls_until_commit", queries.controls)
    return request.param


AT_WORK = {
    # what the manager, or who was asked by it, does -> the function after which it has been authorised
    "its request is accepted": "would_manage_each_other",
    "it ends a trust": "_ending",
    "it asks for a trust": "_is_prevented",
}


@pytest.mark.parametrize("work", AT_WORK)
def test_a_manager_does_nothing_after_its_control_has_ended(
    alice: Wallet, bob: Wallet, sapling: Wallet, locks: Any, work: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked = {"actor": alice, "requester": "sapling", "requestee": "bobby", "request_type": TrustRequestType.YIELD}
    trust = None if work == "it asks for a trust" else operations.request_trust(**asked)
    manage = Trust.objects.get(request_type="manage")
    is_authorised = threading.Event()
    module = management_rules if work == "its request is accepted" else operations
    gate, authorised = Gate(2, held=locks != "none"), getattr(module, AT_WORK[work])

    def authorised_and_waiting(*args: Any, **kwargs: Any) -> Any:
        found = authorised(*args, **kwargs)
        if kwargs.get("actor") != sapling:
            is_authorised.set()
            gate()
        return found

    monkeypatch.setattr(module, AT_WORK[work], authorised_and_waiting)

    def end() -> None:
        assert is_authorised.wait(timeout=PATIENCE_SECONDS)
        if trust is None:
            operations.dismiss_manager(actor=sapling, wallet_id=sapling.pk, manager="alice")
        else:
            # The dismissal would wait for this trust itself, too.
            operations.decline_trust(actor=sapling, trust_id=manage.pk)
        gate()

    outcomes = race(
        [
            {
                "its request is accepted": lambda: operations.accept_trust(actor=bob, trust_id=trust.id),
                "it ends a trust": lambda: operations.delete_trust(actor=alice, trust_id=trust.id),
                "it asks for a trust": lambda: operations.request_trust(**asked),
            }[work],
            end,
        ]
    )

    assert not isinstance(outcomes[0], Exception)
    last = TrustChange.objects.order_by("id").last()
    is_after_the_end = last.actor_id != sapling.pk
    assert is_after_the_end is (locks == "none")
    # What is to be ended is looked for while the wallet is locked; with the other lock alone it depends on the moment.
    if trust is None and locks != "that of the control":
        assert Trust.objects.filter(state__in=OPEN).exists() is (locks == "none")


def test_a_description_and_a_first_password_at_once_do_not_deadlock(
    alice: Wallet, sapling: Wallet, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The trust has a copy of whether the managed wallet has a password."""
    monkeypatch.setattr(deadlocks, "_PAUSES_SECONDS", ())
    monkeypatch.setattr(wallets, "_encoded", lambda _: "a hash, without the time that it takes")
    is_authorised, change_wallet = threading.Event(), wallets.change_wallet

    def change_when_the_other_waits(**changes: Any) -> None:
        is_authorised.set()
        wait_until_waiting(1)
        change_wallet(**changes)

    def set_password() -> None:
        assert is_authorised.wait(timeout=PATIENCE_SECONDS)
        wallets.set_password(wallet=sapling, password="a first password")

    monkeypatch.setattr(wallets, "change_wallet", change_when_the_other_waits)

    def describe() -> None:
        operations.describe_wallet(actor=alice, wallet_id=sapling.pk, about="Tall")

    assert race([describe, set_password]) == [None, None]
    sapling.refresh_from_db()
    assert (sapling.about, sapling.password != "") == ("Tall", True)
    assert Trust.objects.get().managed_has_password is True
