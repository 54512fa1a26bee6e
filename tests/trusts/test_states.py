"""The transition table of trusts, over every state, event, type and memory of a withdrawal."""

import itertools

import pytest

from trusts import errors
from trusts.states import TYPE_OF, TrustEvent, TrustRequestType, TrustState, next_state

AFTER = {"accept": "trusted", "decline": "cancelled_by_target", "delete": "cancelled_by_originator"}


@pytest.mark.parametrize(
    ("state", "event", "request_type", "withdrawn"),
    list(itertools.product(TrustState, TrustEvent, TrustRequestType, [False, True])),
)
def test_everything_may_happen_in_every_state_but_the_revival_of_a_withdrawn_yield(
    state, event, request_type, withdrawn
):
    if (event, request_type, withdrawn) == ("accept", "yield", True):
        with pytest.raises(errors.YieldWithdrawn):
            next_state(state, event, request_type=request_type, withdrawn=withdrawn)
    else:
        assert next_state(state, event, request_type=request_type, withdrawn=withdrawn) == AFTER[event]


def test_each_request_type_has_its_coarse_type():
    assert TYPE_OF == {"send": "send", "receive": "send", "manage": "manage", "yield": "manage"}
