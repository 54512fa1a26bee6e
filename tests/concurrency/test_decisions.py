"""Two decisions on one transfer at the same moment. Each has a control without the lock, which shows the race."""

import itertools
import threading
from typing import Any

import pytest
from django.db import DatabaseError, connection, transaction

from tests.concurrency.races import PATIENCE_SECONDS, Gate, assert_sound, kinds, race
from transfers import errors, ledger, operations
from transfers.models import Transfer
from wallets.models import Token, Wallet

LOSES = {"accept": "TransferNotPending", "fulfill": "TransferNotRequested"}
PENDING = [("accept", "decline"), ("accept", "delete"), ("accept", "accept"), ("decline", "delete")]
REQUESTED = [("fulfill", "fulfill"), ("fulfill", "decline"), ("fulfill", "delete"), ("decline", "delete")]
RACES = [("pending", *pair) for pair in PENDING] + [("requested", *pair) for pair in REQUESTED]
BOB_DECIDES = {("pending", "accept"), ("pending", "decline"), ("requested", "delete")}
ENDS = {"accept": "completed", "fulfill": "completed", "decline": "cancelled", "delete": "cancelled"}


def open_transfer(state: Any, alice: Any, bob: Any) -> Any:
    asking = alice if state == "pending" else bob
    return operations.send_bundle(actor=asking, sender="alice", receiver="bobby", size=3)


def decide(state: Any, event: Any, transfer: Any, alice: Any, bob: Any) -> Any:
    actor = bob if (state, event) in BOB_DECIDES else alice
    return lambda: getattr(operations, event)(actor=actor, transfer_id=transfer.id)


@pytest.fixture
def without_lock(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(operations, "lock", lambda transfer_id: Transfer.objects.get(pk=transfer_id))
    # A deadlock, which only the missing lock makes possible, is to be seen and not survived.
    for event in ENDS:
        monkeypatch.setattr(operations, event, getattr(operations, event).__wrapped__)


@pytest.fixture
def decided_before_anybody_acts(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    """Let both contestants have found the transfer open, and have been authorised, if no lock keeps them from it."""
    gate, authorise = Gate(2, held="without_lock" not in request.fixturenames), operations.authorise

    def authorise_and_wait(*args: Any, **kwargs: Any) -> None:
        authorise(*args, **kwargs)
        gate()

    monkeypatch.setattr(operations, "authorise", authorise_and_wait)


@pytest.mark.parametrize(("state", "one", "other"), RACES)
def test_of_two_decisions_one_wins_and_the_other_hears_of_the_wrong_state(
    state: Any, one: Any, other: Any, stocked: Wallet, bob: Wallet, decided_before_anybody_acts: None
) -> None:
    transfer = open_transfer(state, stocked, bob)

    outcomes = race([decide(state, event, transfer, stocked, bob) for event in (one, other)])

    won = [index for index, outcome in enumerate(outcomes) if not isinstance(outcome, Exception)]
    assert len(won) == 1
    winner, loser = ((one, other), (other, one))[won[0]]
    assert outcomes[won[0]].state == ENDS[winner]
    assert type(outcomes[1 - won[0]]).__name__ == LOSES.get(loser, "TransferNotOpen")
    assert Transfer.objects.get().state == ENDS[winner]
    assert Token.objects.filter(wallet=bob).count() == (3 if ENDS[winner] == "completed" else 0)
    assert_sound()


@pytest.mark.parametrize(("state", "one", "other"), [RACES[0], RACES[4]])
def test_control_without_the_lock_both_decide_and_only_the_database_stops_the_second(
    state: Any,
    one: Any,
    other: Any,
    stocked: Wallet,
    bob: Wallet,
    without_lock: None,
    decided_before_anybody_acts: None,
) -> None:
    transfer = open_transfer(state, stocked, bob)

    outcomes = race([decide(state, event, transfer, stocked, bob) for event in (one, other)])

    (loser,) = [outcome for outcome in outcomes if isinstance(outcome, Exception)]
    # Not a refusal in words but a fault: the trigger on closed transfers, a deadlock, or tokens that are gone.
    assert isinstance(loser, DatabaseError | AssertionError)
    assert_sound()


def test_of_32_accepts_one_wins(stocked: Wallet, bob: Wallet) -> None:
    transfer = open_transfer("pending", stocked, bob)

    outcomes = race([decide("pending", "accept", transfer, stocked, bob)] * 32)

    assert kinds(outcomes) == {"completed": 1, "TransferNotPending": 31}
    assert_sound()


def test_requests_that_can_be_fulfilled_once_are_fulfilled_once(stocked: Wallet, bob: Wallet) -> None:
    # 40 tokens, 6 requests of 10 each: 4 can be kept, the others stay open.
    requests = [operations.send_bundle(actor=bob, sender="alice", receiver="bobby", size=10) for _ in range(6)]

    outcomes = race([decide("requested", "fulfill", transfer, stocked, bob) for transfer in requests])

    assert kinds(outcomes) == {"completed": 4, "InsufficientTokens": 2}
    assert Transfer.objects.filter(state="requested").count() == 2
    assert Token.objects.filter(wallet=bob).count() == 40
    assert_sound()


def test_sending_accepting_and_declining_at_once_loses_nothing(stocked: Wallet, bob: Wallet, sapling: Wallet) -> None:
    def busy(client: Any) -> Any:
        states = []
        for _ in range(6):
            try:
                row = operations.send_bundle(actor=stocked, sender="alice", receiver="bobby", size=1 + client % 4)
            except errors.InsufficientTokens:
                states.append("refused")
                continue
            event = "accept" if client % 2 else "decline"
            states.append(decide("pending", event, row, stocked, bob)().state)
        return states

    outcomes = race([lambda client=client: busy(client) for client in range(8)])

    assert not [outcome for outcome in outcomes if isinstance(outcome, Exception)]
    assert set(itertools.chain(*outcomes)) <= {"completed", "cancelled", "refused"}
    assert Token.objects.count() == 40
    assert not Token.objects.exclude(transfer_pending_id=None).exists()
    assert_sound()


@pytest.mark.parametrize(
    ("accept", "outcome", "moved"),
    [(operations.accept, "completed", 3), (operations.accept.__wrapped__, "OperationalError", 0)],
    ids=["repeated", "control"],
)
def test_row_20_a_decision_that_is_undone_to_end_a_deadlock_is_taken_all_the_same(
    stocked: Wallet, bob: Wallet, monkeypatch: pytest.MonkeyPatch, accept: Any, outcome: str, moved: int
) -> None:
    """A session outside the ledger takes the locks in another order. Without the retry the decision is lost."""
    transfer, complete = open_transfer("pending", stocked, bob), ledger.complete_reserved
    has_tokens, has_transfer = threading.Event(), threading.Event()

    def take_tokens_and_then_the_transfer() -> None:
        with transaction.atomic(), connection.cursor() as cursor:
            cursor.execute("SET LOCAL deadlock_timeout = '1min'")
            cursor.execute("SELECT FROM wallets_token WHERE transfer_pending_id = %s FOR UPDATE", [transfer.id])
            has_tokens.set()
            assert has_transfer.wait(PATIENCE_SECONDS)
            cursor.execute("SELECT FROM transfers_transfer WHERE id = %s FOR UPDATE", [transfer.id])

    def complete_when_the_circle_is_all_but_closed(**arguments: Any) -> Any:
        if not has_transfer.is_set():
            has_transfer.set()
            with connection.cursor() as cursor:
                cursor.execute("SET LOCAL deadlock_timeout = '10ms'")
                # In this database only: others of the same server have tests of their own.
                waits = "SELECT FROM pg_stat_activity WHERE wait_event_type = 'Lock' AND datname = current_database()"
                while not cursor.execute(f"SELECT 1 WHERE EXISTS ({waits})").fetchone():
                    cursor.execute("SELECT pg_stat_clear_snapshot()")
        return complete(**arguments)

    def accept_what_somebody_holds() -> Any:
        assert has_tokens.wait(PATIENCE_SECONDS)
        return accept(actor=bob, transfer_id=transfer.id)

    monkeypatch.setattr(ledger, "complete_reserved", complete_when_the_circle_is_all_but_closed)
    outcomes = race([take_tokens_and_then_the_transfer, accept_what_somebody_holds])

    assert kinds(outcomes) == {"None": 1, outcome: 1}
    assert Token.objects.filter(wallet=bob).count() == moved
    assert_sound()
