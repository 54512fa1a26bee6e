"""The transition table, over every pair of state and event."""

import itertools
from typing import Any

import pytest

from transfers import errors
from transfers.states import DECIDES, OPEN, TRANSITIONS, Side, TransferEvent, TransferState, next_state

LEGAL = {
    ("pending", "accept"): "completed",
    ("pending", "decline"): "cancelled",
    ("pending", "delete"): "cancelled",
    ("pending", "expire"): "failed",
    ("requested", "fulfill"): "completed",
    ("requested", "decline"): "cancelled",
    ("requested", "delete"): "cancelled",
    ("requested", "expire"): "failed",
}
REFUSALS = {
    "accept": errors.TransferNotPending,
    "fulfill": errors.TransferNotRequested,
    "approve": errors.ApprovalNotAwaited,
    "refuse": errors.ApprovalNotAwaited,
}
# Of a pending transfer that awaits the approval of its source's side. `approve` leaves the state to the caller.
AWAITING = {
    "approve": "pending",
    "refuse": "cancelled",
    "decline": "cancelled",
    "delete": "cancelled",
    "expire": "failed",
}


@pytest.mark.parametrize(("state", "event"), list(itertools.product(TransferState, TransferEvent)))
def test_every_pair_either_moves_as_the_contract_says_or_is_refused(state: Any, event: Any) -> None:
    if (state, event) in LEGAL:
        assert next_state(state, event) == LEGAL[state, event]
    else:
        with pytest.raises(REFUSALS.get(event, errors.TransferNotOpen)):
            next_state(state, event)


@pytest.mark.parametrize("event", TransferEvent)
def test_what_awaits_an_approval_is_not_accepted(event: Any) -> None:
    if event in AWAITING:
        assert next_state(TransferState.PENDING, event, awaits_approval=True) == AWAITING[event]
    else:
        with pytest.raises({"accept": errors.ApprovalAwaited, "fulfill": errors.TransferNotRequested}[event]):
            next_state(TransferState.PENDING, event, awaits_approval=True)


def outcome(*pair: Any, awaits_approval: bool) -> Any:
    try:
        return next_state(*pair, awaits_approval=awaits_approval)
    except errors.DomainError as error:
        return type(error)


def test_none_but_a_pending_transfer_awaits_an_approval() -> None:
    """One whose time has passed counts as failed, and still has no approval."""
    for pair in itertools.product(TransferState, TransferEvent):
        if pair[0] is not TransferState.PENDING:
            assert outcome(*pair, awaits_approval=True) == outcome(*pair, awaits_approval=False), pair


def test_what_is_closed_stays_closed() -> None:
    assert {state for state, _ in TRANSITIONS} == set(OPEN)


def test_the_side_that_was_asked_decides_and_the_side_that_asked_withdraws() -> None:
    assert DECIDES == {
        ("pending", "accept"): Side.DESTINATION,
        ("pending", "decline"): Side.DESTINATION,
        ("pending", "delete"): Side.SOURCE,
        ("requested", "fulfill"): Side.SOURCE,
        ("requested", "decline"): Side.SOURCE,
        ("requested", "delete"): Side.DESTINATION,
    }
