"""What is legal for a trust. Pure: no query, no clock."""

from typing import Final

from django.db import models

from trusts import errors


class TrustType(models.TextChoices):
    """The coarse kind of a trust, as lists filter it."""

    SEND = "send"
    MANAGE = "manage"


class TrustRequestType(models.TextChoices):
    """What the actor asks of the target."""

    SEND = "send"  # the actor may push its tokens to the target
    RECEIVE = "receive"  # the target may push its tokens to the actor
    MANAGE = "manage"  # the actor controls the target
    YIELD = "yield"  # the target controls the actor


class TrustState(models.TextChoices):
    """Where a trust stands."""

    REQUESTED = "requested"
    TRUSTED = "trusted"
    CANCELLED_BY_ORIGINATOR = "cancelled_by_originator"
    CANCELLED_BY_TARGET = "cancelled_by_target"


class TrustEvent(models.TextChoices):
    """What can be done to a trust."""

    ACCEPT = "accept"
    DECLINE = "decline"
    DELETE = "delete"


# An open trust stands in the way of another one of the same meaning.
OPEN: Final = (TrustState.REQUESTED, TrustState.TRUSTED)

TYPE_OF: Final[dict[TrustRequestType, TrustType]] = {
    TrustRequestType.SEND: TrustType.SEND,
    TrustRequestType.RECEIVE: TrustType.SEND,
    TrustRequestType.MANAGE: TrustType.MANAGE,
    TrustRequestType.YIELD: TrustType.MANAGE,
}

# Every event is legal in every state: either party may change its mind at any time, and an
# accepted trust that was declined or deleted before is re-instated (the Treetracker contract, row 25).
TRANSITIONS: Final[dict[tuple[TrustState, TrustEvent], TrustState]] = {
    (state, event): after
    for state in TrustState
    for event, after in (
        (TrustEvent.ACCEPT, TrustState.TRUSTED),
        (TrustEvent.DECLINE, TrustState.CANCELLED_BY_TARGET),
        (TrustEvent.DELETE, TrustState.CANCELLED_BY_ORIGINATOR),
    )
}


def next_state(state: TrustState, event: TrustEvent, *, request_type: TrustRequestType, withdrawn: bool) -> TrustState:
    """
    Return the state after `event`.

    `withdrawn` says that the originator deleted the trust since it was last in force. That
    is remembered apart from the state, because a decline after the delete must not hide it.

    :raises trusts.errors.YieldWithdrawn: a withdrawn `yield` is accepted
    """
    if event is TrustEvent.ACCEPT and request_type is TrustRequestType.YIELD and withdrawn:
        raise errors.YieldWithdrawn
    return TRANSITIONS[state, event]
