"""The transition table of trusts, over every state, event, type and memory of an end."""

import itertools
from typing import Any

import pytest

from trusts import errors
from trusts.states import TrustEvent, TrustRequestType, TrustState, next_state

# Whether a trust of the kind has the consent of its actor, over whom it gives a power, rather than of its target.
IS_ACTORS_CONSENT = {"send": False, "receive": True, "manage": False, "yield": True}
AFTER = {"accept": "trusted", "decline": "cancelled_by_target", "delete": "cancelled_by_originator"}


def known_of(request_type: TrustRequestType, *, withdrawn: bool) -> dict[str, Any]:
    """Return the arguments of `next_state` for a trust of this kind."""
    return {
        "request_type": request_type, "is_actors_consent": IS_ACTORS_CONSENT[request_type], "withdrawn": withdrawn
    }  # fmt: skip


@pytest.mark.parametrize(
    ("state", "event", "request_type", "withdrawn"),
    list(itertools.product(TrustState, [*AFTER], TrustRequestType, [False, True])),
)
def test_wallets_may_do_everything_in_every_state_but_accept_a_withdrawn_consent(
    state: Any, event: Any, request_type: Any, withdrawn: Any
) -> None:
    known = known_of(request_type, withdrawn=withdrawn)
    if event == "accept" and IS_ACTORS_CONSENT[request_type] and withdrawn:
        with pytest.raises(errors.ConsentWithdrawn, match=request_type):
            next_state(state, TrustEvent(event), **known)
    else:
        assert next_state(state, TrustEvent(event), **known) == AFTER[event]


@pytest.mark.parametrize(
    ("state", "request_type", "withdrawn"), list(itertools.product(TrustState, TrustRequestType, [False, True]))
)
def test_an_operator_ends_what_is_open_and_that_is_final(state: Any, request_type: Any, withdrawn: Any) -> None:
    known = known_of(request_type, withdrawn=withdrawn)
    if state in ("requested", "trusted"):
        after = "cancelled_by_originator" if IS_ACTORS_CONSENT[request_type] else "cancelled_by_target"
        assert next_state(state, TrustEvent.END, **known) == after
    else:
        with pytest.raises(errors.TrustNotOpen):
            next_state(state, TrustEvent.END, **known)
    with pytest.raises(errors.EndedByOperator):
        next_state(state, TrustEvent.ACCEPT, was_ended_by_operator=True, **known)
