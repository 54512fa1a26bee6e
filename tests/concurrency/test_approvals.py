"""An approval beside what else may become of a transfer, and beside a change of the demand. Each has its control."""

from collections.abc import Callable
from typing import Any
from uuid import uuid4

import pytest
from django.db import DatabaseError

from tests.concurrency.races import Gate, assert_sound, kinds, race
from transfers import approvals, operations, queries
from transfers.models import ApprovalChange, Transfer
from transfers.queries import Demand
from trusts import operations as trusts
from trusts.states import TrustRequestType
from wallets.models import Token, Wallet

FIRST, SECOND, THIRD = uuid4(), uuid4(), uuid4()


@pytest.fixture
def held(stocked: Wallet, bob: Wallet) -> Any:
    """Three of alice's tokens to bob, who may get them at once, but for the approval."""
    row = trusts.request_trust(actor=stocked, request_type=TrustRequestType.SEND, requestee="bobby")
    trusts.accept_trust(actor=bob, trust_id=row.id)
    Wallet.objects.filter(pk=stocked.pk).update(approval_above=2)
    made = operations.send_bundle(actor=stocked, sender="alice", receiver="bobby", size=3, credential_id=FIRST)
    assert made.state == "pending"
    return made.id


@pytest.fixture
def without_lock(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(operations, "lock", lambda transfer_id: Transfer.objects.get(pk=transfer_id))
    # A deadlock, which only the missing lock makes possible, is to be seen and not survived.
    for module, name in (
        (approvals, "approve"),
        (approvals, "refuse"),
        (operations, "delete"),
        (operations, "decline"),
    ):
        monkeypatch.setattr(module, name, getattr(module, name).__wrapped__)


@pytest.fixture
def decided_before_anybody_acts(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    """Let both have found that the transfer awaits an approval, if no lock keeps them from it."""
    gate, decide = Gate(2, held="without_lock" not in request.fixturenames), operations.state_after

    def decide_and_wait(*args: Any) -> Any:
        after = decide(*args)
        gate()
        return after

    monkeypatch.setattr(operations, "state_after", decide_and_wait)


def contestants(alice: Wallet, bob: Wallet, held: Any, other: str) -> list[Callable[[], Any]]:
    others = {
        "approve": lambda: approvals.approve(actor=alice, credential_id=THIRD, transfer_id=held),
        "refuse": lambda: approvals.refuse(actor=alice, transfer_id=held),
        "cancel": lambda: operations.delete(actor=alice, transfer_id=held),
        "decline": lambda: operations.decline(actor=bob, transfer_id=held),
    }
    return [lambda: approvals.approve(actor=alice, credential_id=SECOND, transfer_id=held), others[other]]


@pytest.mark.parametrize("other", ["approve", "refuse", "cancel", "decline"])
def test_of_an_approval_and_another_decision_one_has_its_effect(
    stocked: Wallet, bob: Wallet, held: Any, other: str, decided_before_anybody_acts: None
) -> None:
    outcomes = race(contestants(stocked, bob, held, other))

    refused = [outcome for outcome in outcomes if isinstance(outcome, Exception)]
    assert len(refused) == 1
    assert type(refused[0]).__name__ in {"ApprovalNotAwaited", "TransferNotOpen"}
    transfer = Transfer.objects.get()
    is_approved = transfer.state == "completed"
    assert transfer.state == ("completed" if is_approved else "cancelled")
    assert Token.objects.filter(wallet=bob).count() == (3 if is_approved else 0)
    assert not Token.objects.exclude(transfer_pending_id=None).exists()
    assert_sound()


@pytest.mark.parametrize("other", ["approve", "cancel"])
def test_control_without_the_lock_both_decide_and_only_the_database_stops_the_second(
    stocked: Wallet, bob: Wallet, held: Any, other: str, without_lock: None, decided_before_anybody_acts: None
) -> None:
    outcomes = race(contestants(stocked, bob, held, other))

    (loser,) = [outcome for outcome in outcomes if isinstance(outcome, Exception)]
    assert isinstance(loser, DatabaseError | AssertionError)
    assert_sound()


def demand(alice: Wallet, credential_id: Any, wanted: Demand) -> Callable[[], Any]:
    return lambda: approvals.demand(actor=alice, credential_id=credential_id, wallet_id=alice.pk, wanted=wanted)


def test_an_approval_and_the_end_of_the_demand_both_happen(stocked: Wallet, bob: Wallet, held: Any) -> None:
    demand(stocked, FIRST, Demand())()

    outcomes = race(
        [
            lambda: approvals.approve(actor=stocked, credential_id=SECOND, transfer_id=held),
            demand(stocked, SECOND, Demand()),
        ]
    )

    assert not [outcome for outcome in outcomes if isinstance(outcome, Exception)]
    assert Transfer.objects.get().state == "completed"
    assert queries.demand_of(wallet_id=stocked.pk) == Demand()
    assert_sound()


LOOSER, TIGHTER = Demand(5), Demand(1)


@pytest.fixture
def decided_before_anybody_changes(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    """Let both changes have been decided on by the present demand, if no lock keeps them from it."""
    gate, confirmed, keep = (
        Gate(2, held="unlocked" not in request.fixturenames),
        approvals._is_confirmed,
        approvals._may_pass,
    )

    def confirm_and_wait(*args: Any) -> bool:
        is_confirmed = confirmed(*args)
        gate()
        return is_confirmed

    def compare_and_wait(present: Demand, wanted: Demand) -> bool:
        may_pass = keep(present, wanted)
        # The looser change waits until its confirmation was read.
        if wanted == TIGHTER:
            gate()
        return may_pass

    monkeypatch.setattr(approvals, "_is_confirmed", confirm_and_wait)
    monkeypatch.setattr(approvals, "_may_pass", compare_and_wait)


@pytest.fixture
def unlocked(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(approvals, "_lock", lambda wallet: None)


def loosen_while_it_is_tightened(alice: Wallet) -> list[Any]:
    """Race the confirmation of `LOOSER` with `TIGHTER`."""
    Wallet.objects.filter(pk=alice.pk).update(approval_above=2)
    ApprovalChange.objects.create(wallet=alice, above=5, new_receivers=False, asked_by=alice, asked_with=FIRST)
    return race([demand(alice, SECOND, LOOSER), demand(alice, THIRD, TIGHTER)])


def test_two_changes_of_a_demand_are_decided_one_after_the_other(
    stocked: Wallet, decided_before_anybody_changes: None
) -> None:
    outcomes = loosen_while_it_is_tightened(stocked)

    assert not [outcome for outcome in outcomes if isinstance(outcome, Exception)]
    # Loosened and then tightened; or tightened, which ends what was asked for, and asked for anew.
    demands = {(outcome.demand.above, outcome.asked and outcome.asked.above) for outcome in outcomes}
    assert demands in ({(5, None), (1, None)}, {(1, None), (1, 5)})
    assert queries.demand_of(wallet_id=stocked.pk) == TIGHTER


def test_control_without_the_lock_of_the_wallet_both_changes_read_the_same_demand(
    stocked: Wallet, unlocked: None, decided_before_anybody_changes: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    seen = []
    monkeypatch.setattr(approvals, "_record", lambda wallet, kind, wanted: seen.append((kind.value, wanted)))

    loosen_while_it_is_tightened(stocked)

    # Both had their effect at once, each against the demand before the other.
    assert sorted(wanted.above for _, wanted in seen) == [1, 5]
    assert {kind for kind, _ in seen} == {"approval_changed"}


def test_a_manager_and_a_demand_at_once_are_one_after_the_other(stocked: Wallet, bob: Wallet) -> None:
    row = trusts.request_trust(actor=bob, request_type=TrustRequestType.MANAGE, requestee="alice")

    outcomes = race([demand(stocked, FIRST, Demand(5)), lambda: trusts.accept_trust(actor=stocked, trust_id=row.id)])

    # Either the manager came first, or it came too late.
    told = kinds([outcome for outcome in outcomes if not isinstance(outcome, approvals.Standing)])
    assert told in ({"trusted": 1}, {"ApprovalsDemanded": 1})
    assert queries.demand_of(wallet_id=stocked.pk) == Demand(5)
