"""The legal states and transitions of a trust. Pure: no query, no clock."""

from typing import Final

from django.db import models

from trusts import errors


class TrustType(models.TextChoices):
    """The power that a trust gives, by which lists filter. The view `trusts_kind` says which kind gives which power."""

    SEND = "send"
    MANAGE = "manage"


class TrustRequestType(models.TextChoices):
    """What the actor asks of the target."""

    SEND = "send"  # the actor may push its tokens to the target
    RECEIVE = "receive"  # the target may push its tokens to the actor
    MANAGE = "manage"  # the actor controls the target
    YIELD = "yield"  # the target controls the actor


class TrustState(models.TextChoices):
    """The states of a trust, those of the public service."""

    REQUESTED = "requested"
    TRUSTED = "trusted"
    CANCELLED_BY_ORIGINATOR = "cancelled_by_originator"
    CANCELLED_BY_TARGET = "cancelled_by_target"


class TrustEvent(models.TextChoices):
    """The events of a trust."""

    ACCEPT = "accept"
    DECLINE = "decline"
    DELETE = "delete"
    END = "end"  # by an operator


# The states in which a trust prevents another one with the same actor, target and type.
OPEN: Final = (TrustState.REQUESTED, TrustState.TRUSTED)

# Every event of a wallet is legal in every state: either party may change its mind at any time, and an
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


def next_state(
    state: TrustState,
    event: TrustEvent,
    *,
    request_type: TrustRequestType,
    is_actors_consent: bool,
    withdrawn: bool,
    was_ended_by_operator: bool = False,
) -> TrustState:
    """
    Return the state after `event`.

    `is_actors_consent`: the power is over the actor, which consents by asking; otherwise the target consents, by
    accepting. `withdrawn`: the actor's side deleted the trust since it was last in force. It is stored apart from the
    state, because a later decline must not hide it.

    An operator's end of an open trust is final: only a new request can give the same power again. The state is then the
    one that the consenting wallet would have caused; the list of changes says that it was an operator.

    :raises trusts.errors.ConsentWithdrawn: a withdrawn `receive` or `yield` is accepted
    :raises trusts.errors.EndedByOperator: a trust is accepted that an operator ended
    :raises trusts.errors.TrustNotOpen: an operator ends a trust that is not open
    """
    if event is TrustEvent.END:
        if state not in OPEN:
            raise errors.TrustNotOpen
        return TrustState.CANCELLED_BY_ORIGINATOR if is_actors_consent else TrustState.CANCELLED_BY_TARGET
    if event is TrustEvent.ACCEPT:
        if was_ended_by_operator:
            raise errors.EndedByOperator
        if withdrawn and is_actors_consent:
            raise errors.ConsentWithdrawn(request_type.value)
    return TRANSITIONS[state, event]
