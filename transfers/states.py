"""What is legal for a transfer. Pure: no query, no clock."""

from typing import Final

from django.db import models

from transfers import errors


class TransferState(models.TextChoices):
    """The states of a transfer, in the order of the public service's messages."""

    REQUESTED = "requested"
    PENDING = "pending"
    COMPLETED = "completed"
    CANCELLED = "cancelled"
    FAILED = "failed"


class TransferEvent(models.TextChoices):
    """The events of an open transfer."""

    ACCEPT = "accept"
    FULFILL = "fulfill"
    DECLINE = "decline"
    DELETE = "delete"
    EXPIRE = "expire"
    # Of a transfer that awaits the approval of its own side, and of no other.
    APPROVE = "approve"
    REFUSE = "refuse"


class ApprovalOf(models.TextChoices):
    """What needs the approval of the source's side: the sending itself, or the fulfilment of a request."""

    SEND = "send"
    FULFILL = "fulfill"


class Side(models.TextChoices):
    """The party of a transfer whose controller may cause an event."""

    SOURCE = "source"
    DESTINATION = "destination"


class ActionTokenState(models.TextChoices):
    """The states of a claim link. All but ACTIVE are terminal."""

    ACTIVE = "active"
    REDEEMED = "redeemed"
    CANCELLED = "cancelled"
    EXPIRED = "expired"


OPEN: Final = (TransferState.REQUESTED, TransferState.PENDING)

# All transitions; `next_state` refuses every other pair. COMPLETED, CANCELLED and FAILED are terminal.
TRANSITIONS: Final[dict[tuple[TransferState, TransferEvent], TransferState]] = {
    (TransferState.PENDING, TransferEvent.ACCEPT): TransferState.COMPLETED,
    (TransferState.PENDING, TransferEvent.DECLINE): TransferState.CANCELLED,
    (TransferState.PENDING, TransferEvent.DELETE): TransferState.CANCELLED,
    (TransferState.PENDING, TransferEvent.EXPIRE): TransferState.FAILED,
    (TransferState.REQUESTED, TransferEvent.FULFILL): TransferState.COMPLETED,
    (TransferState.REQUESTED, TransferEvent.DECLINE): TransferState.CANCELLED,
    (TransferState.REQUESTED, TransferEvent.DELETE): TransferState.CANCELLED,
    (TransferState.REQUESTED, TransferEvent.EXPIRE): TransferState.FAILED,
}

# The party that was asked accepts, fulfils or declines; the party that asked deletes.
DECIDES: Final[dict[tuple[TransferState, TransferEvent], Side]] = {
    (TransferState.PENDING, TransferEvent.ACCEPT): Side.DESTINATION,
    (TransferState.PENDING, TransferEvent.DECLINE): Side.DESTINATION,
    (TransferState.PENDING, TransferEvent.DELETE): Side.SOURCE,
    (TransferState.REQUESTED, TransferEvent.FULFILL): Side.SOURCE,
    (TransferState.REQUESTED, TransferEvent.DECLINE): Side.SOURCE,
    (TransferState.REQUESTED, TransferEvent.DELETE): Side.DESTINATION,
}

# The same for a pending transfer that awaits the approval of its source's side. After APPROVE it completes, or is
# pending for its destination, as it would have been without the demand.
AWAITING: Final[dict[TransferEvent, Side]] = {
    TransferEvent.DECLINE: Side.DESTINATION,
    TransferEvent.DELETE: Side.SOURCE,
    TransferEvent.APPROVE: Side.SOURCE,
    TransferEvent.REFUSE: Side.SOURCE,
}


def deciding_sides(state: TransferState, *, awaits_approval: bool) -> dict[TransferEvent, Side]:
    """Return the events that a wallet may cause of a transfer in this state, and the side to which each belongs."""
    if awaits_approval:
        return AWAITING
    return {event: side for (before, event), side in DECIDES.items() if before == state}


def next_state(state: TransferState, event: TransferEvent, *, awaits_approval: bool = False) -> TransferState:
    """
    Return the state after `event`. After APPROVE it is COMPLETED, or stays PENDING: the caller decides.

    :raises transfers.errors.ApprovalAwaited: `accept` of a transfer that awaits an approval
    :raises transfers.errors.ApprovalNotAwaited: `approve` or `refuse` of any other
    :raises transfers.errors.TransferNotPending: `accept` of anything but a pending transfer
    :raises transfers.errors.TransferNotRequested: `fulfill` of anything but a requested transfer
    :raises transfers.errors.TransferNotOpen: any other event after the end
    """
    if event in {TransferEvent.APPROVE, TransferEvent.REFUSE}:
        if not awaits_approval or state is not TransferState.PENDING:
            raise errors.ApprovalNotAwaited
        return TransferState.CANCELLED if event is TransferEvent.REFUSE else TransferState.PENDING
    if event is TransferEvent.ACCEPT and awaits_approval and state is TransferState.PENDING:
        raise errors.ApprovalAwaited
    after = TRANSITIONS.get((state, event))
    if after is not None:
        return after
    if event is TransferEvent.ACCEPT:
        raise errors.TransferNotPending
    if event is TransferEvent.FULFILL:
        raise errors.TransferNotRequested
    raise errors.TransferNotOpen
