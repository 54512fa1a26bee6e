"""Operations on transfers. Each function is one transaction and authorises on locked rows."""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from datetime import timedelta
from typing import Final
from uuid import UUID, uuid4

from django.conf import settings
from django.db import connection, transaction

from transfers import errors, ledger, partitions, queries
from transfers.ids import new_id
from transfers.models import Transfer
from transfers.states import DECIDES, OPEN, Side, TransferEvent, TransferState, next_state
from trusts import queries as trust_queries
from wallets import errors as wallet_errors
from wallets import operations as wallet_operations
from wallets import queries as wallet_queries
from wallets import restricted_keys
from wallets.deadlocks import retry_on_deadlock
from wallets.models import Wallet
from wallets.queries import IdempotencyClaim
from wallets.states import EventType

# Maximum attempts when listed tokens become free between check and lock.
_ATTEMPTS = 3
# Bounds the memory of one statement; the whole issue is still one transaction.
ISSUED_AT_ONCE = 50_000
# The number of new tokens from which the planner's statistics are refreshed at once.
_MANY = 1_000
# The transfers and tokens of one batch that expires, at most (see `bulk.MAXIMUM_TOKENS`), and the batches of one run.
_EXPIRED_AT_ONCE = 100
_FREED_AT_ONCE = 25_000
_BATCHES = 100


class TooFew(Exception):
    """Too few tokens: rolls an attempt back."""


@contextmanager
def attempt() -> Iterator[None]:
    """
    Release the tokens that an attempt locked, if it ends in `TooFew`.

    Otherwise the next attempt, which waits for locks, could deadlock with a transaction that waits for these. Outside a
    transaction a statement of the ledger releases its locks at its end; inside one of the caller it takes a savepoint.
    The savepoint is not released on success: that would cost a round trip, and it ends with the transaction anyway.
    """
    savepoint = connection.savepoint() if connection.in_atomic_block else None
    try:
        yield
    except TooFew:
        if savepoint is not None:
            connection.savepoint_rollback(savepoint)


@retry_on_deadlock
def send_bundle(
    *,
    actor: Wallet,
    sender: str,
    receiver: str,
    size: int,
    claim: IdempotencyClaim | None = None,
    terms: ledger.Terms | None = None,
    credential_id: UUID | None = None,
) -> queries.TransferRow:
    """
    Transfer `size` tokens of the ledger's choice: at once, or pending, or requested, as control and trust allow.

    `sender` and `receiver` are names or ids. With a claim the idempotency key is stored with the effect.
    `credential_id` is the credential with which the actor asks: if the sender demands an approval, the transfer is
    pending until another gives it (`transfers.approvals`).

    :raises wallets.errors.KeyInUse: a request with the key of the claim is in flight, or has only just completed
    :raises wallets.errors.InvalidWalletName: a text can never be a name
    :raises wallets.errors.WalletNotFound: no such sender or receiver
    :raises transfers.errors.SameWallet: sender and receiver are one
    :raises transfers.errors.NeitherWalletControlled: the actor controls neither
    :raises transfers.errors.ReferenceTaken: the terms want a unique reference that another transfer has
    :raises transfers.errors.ExpiryPassed: the terms name a time that has passed
    :raises transfers.errors.InsufficientTokens: the sender has fewer free tokens
    :raises wallets.errors.DomainError: the request's restricted key may not, as by `restricted_keys.spend`
    """
    request = _request(actor, sender, receiver, claim, terms)._replace(credential_id=credential_id)
    with restricted_keys.transaction_of_limits():
        for wait in (False, True):
            with attempt():
                decision = ledger.send_bundle(request=request, size=size, wait=wait)
                if decision.number is not None:
                    _spend(decision.state, size)
                    return _sent(request.id, decision)
                _refuse(decision, sender, receiver)
                raise TooFew
    raise errors.InsufficientTokens


@retry_on_deadlock
def send_tokens(
    *,
    actor: Wallet,
    sender: str,
    receiver: str,
    token_ids: Sequence[UUID],
    claim: IdempotencyClaim | None = None,
    terms: ledger.Terms | None = None,
    credential_id: UUID | None = None,
) -> queries.TransferRow:
    """
    Transfer exactly these tokens: at once, or pending, or requested, as control and trust allow.

    `sender` and `receiver` are names or ids. With a claim the idempotency key is stored with the effect.
    `credential_id` is the credential with which the actor asks: if the sender demands an approval, the transfer is
    pending until another gives it (`transfers.approvals`).

    :raises wallets.errors.KeyInUse: a request with the key of the claim is in flight, or has only just completed
    :raises wallets.errors.InvalidWalletName: a text can never be a name
    :raises wallets.errors.WalletNotFound: no such sender or receiver
    :raises transfers.errors.SameWallet: sender and receiver are one
    :raises transfers.errors.NeitherWalletControlled: the actor controls neither
    :raises transfers.errors.ReferenceTaken: the terms want a unique reference that another transfer has
    :raises transfers.errors.ExpiryPassed: the terms name a time that has passed
    :raises wallets.errors.TokenNotFound: no such token
    :raises transfers.errors.TokenElsewhere: a token is not in the sender
    :raises transfers.errors.TokenReserved: a token is reserved by another transfer
    """
    request = _request(actor, sender, receiver, claim, terms)._replace(credential_id=credential_id)
    with restricted_keys.transaction_of_limits():
        for _ in range(_ATTEMPTS):
            with attempt():
                decision = ledger.send_listed(request=request, token_ids=token_ids)
                if decision.number is not None:
                    _spend(decision.state, len(token_ids))
                    return _sent(request.id, decision)
                _refuse(decision, sender, receiver)
                assert decision.source_id is not None
                _refuse_tokens(wallet_id=decision.source_id, token_ids=token_ids)
                raise TooFew
    raise errors.TokenReserved(token_ids[0])


def _spend(state: str | None, *sizes: int) -> None:
    """Count transfers of a restricted key in this state: requested ones move and reserve nothing."""
    restricted_keys.spend(*(() if state == TransferState.REQUESTED else sizes))


def _request(
    actor: Wallet, sender: str, receiver: str, claim: IdempotencyClaim | None, terms: ledger.Terms | None
) -> ledger.Request:
    source, destination = wallet_queries.reference(sender), wallet_queries.reference(receiver)
    if terms is not None and terms.expires_at is not None and terms.expires_at <= queries.now():
        raise errors.ExpiryPassed
    return ledger.Request(new_id(), actor, source, destination, claim, terms, lifetime())


def lifetime() -> timedelta | None:
    """Return the time after which an open transfer expires whose terms name none, or None if it never does."""
    return timedelta(hours=settings.OPEN_TRANSFER_HOURS) if settings.OPEN_TRANSFER_HOURS else None


def _refuse(decision: ledger.Decision, sender: str, receiver: str) -> None:
    """Raise the error of a refused decision; return if the only problem is too few tokens."""
    if decision.state == "duplicate":
        raise wallet_errors.KeyInUse
    if decision.source_id is None:
        raise wallet_queries.no_such_wallet(sender)
    if decision.destination_id is None:
        raise wallet_queries.no_such_wallet(receiver)
    if decision.state == "same":
        raise errors.SameWallet
    if decision.state == "foreign":
        raise errors.NeitherWalletControlled


def _refuse_tokens(*, wallet_id: UUID, token_ids: Sequence[UUID]) -> None:
    """
    Raise TokenNotFound for the first unknown token, else TokenElsewhere or TokenReserved for the first that is not
    free.
    """
    found = queries.locate_tokens(token_ids=token_ids)
    for token_id in token_ids:
        if token_id not in found:
            raise wallet_errors.TokenNotFound(f"can not found token by id:{token_id}")
    for token_id in token_ids:
        holder_id, reservation = found[token_id]
        if holder_id != wallet_id:
            raise errors.TokenElsewhere(token_id)
        if reservation is not None:
            raise errors.TokenReserved(token_id)


def _sent(transfer_id: UUID, decision: ledger.Decision) -> queries.TransferRow:
    assert decision.number is not None
    assert decision.state is not None
    assert decision.json is not None
    return queries.TransferRow(decision.number, transfer_id, decision.state, decision.json, decision.has_terms)


@retry_on_deadlock
def accept(*, actor: Wallet, transfer_id: UUID) -> queries.TransferRow:
    """
    Move the tokens that a pending transfer reserved to its destination, which the actor controls.

    :raises transfers.errors.TransferNotFound: no such transfer
    :raises transfers.errors.TransferNotPending: it is in another state
    :raises transfers.errors.NotYoursToDecide: the actor does not control the destination
    """
    with transaction.atomic(savepoint=False):
        transfer = lock(transfer_id)
        state_after(transfer, TransferEvent.ACCEPT)
        authorise(transfer, actor, TransferEvent.ACCEPT, verb="accept")
        complete_reserved(transfer, actor=actor, event=TransferEvent.ACCEPT)
        restricted_keys.spend(transfer.token_count)
        return closed(transfer, TransferEvent.ACCEPT)


def complete_reserved(transfer: Transfer, *, actor: Wallet, event: TransferEvent) -> None:
    """Move the tokens that a pending transfer reserved. The caller has locked the transfer and decided on it."""
    size = transfer.token_count
    if not ledger.complete_reserved(transfer_id=transfer.pk, actor_id=actor.pk, size=size, event=event):
        raise AssertionError(f"transfer {transfer.pk} does not hold what it reserved")


@retry_on_deadlock
def decline(*, actor: Wallet, transfer_id: UUID) -> queries.TransferRow:
    """
    Decline an open transfer for the side that was asked, and free the tokens that it reserved.

    :raises transfers.errors.TransferNotFound: no such transfer
    :raises transfers.errors.TransferNotOpen: it is closed
    :raises transfers.errors.NotYoursToDecide: the actor does not control the side that was asked
    """
    return cancel(actor=actor, transfer_id=transfer_id, event=TransferEvent.DECLINE, verb="decline")


@retry_on_deadlock
def delete(*, actor: Wallet, transfer_id: UUID) -> queries.TransferRow:
    """
    Cancel an open transfer for the side that asked, and free the tokens that it reserved.

    :raises transfers.errors.TransferNotFound: no such transfer
    :raises transfers.errors.TransferNotOpen: it is closed
    :raises transfers.errors.NotYoursToDecide: the actor does not control the side that asked
    """
    return cancel(actor=actor, transfer_id=transfer_id, event=TransferEvent.DELETE, verb="cancel")


def cancel(*, actor: Wallet, transfer_id: UUID, event: TransferEvent, verb: str) -> queries.TransferRow:
    """
    Cancel a transfer by an event that moves no token, for the side to which the event belongs.

    :raises transfers.errors.TransferNotFound: no such transfer
    :raises transfers.errors.NotYoursToDecide: the actor does not control that side
    :raises wallets.errors.DomainError: the state of the transfer does not allow the event
    """
    with transaction.atomic(savepoint=False):
        transfer = lock(transfer_id)
        after = state_after(transfer, event)
        authorise(transfer, actor, event, verb=verb)
        ledger.release(transfer_id=transfer.pk, actor_id=actor.pk, event=event, state=after)
        return closed(transfer, event)


@retry_on_deadlock
def expire(*, transfer_ids: Sequence[UUID]) -> int:
    """
    Expire open transfers: they fail, and their tokens are free again. Return how many.

    One transaction for all. Those that are closed already, or that another transaction is deciding on, are left out.
    """
    with transaction.atomic(savepoint=False):
        expired = ledger.expire(transfer_ids=transfer_ids)
        if expired:
            wallet_operations.record_events(
                [
                    (party, _EVENT_TYPES[TransferEvent.EXPIRE], about.payload)
                    for about in queries.announcements(transfer_ids=expired)
                    for party in (about.source_id, about.destination_id)
                ]
            )
    return len(expired)


def expire_due() -> int:
    """
    Expire the open transfers whose time has passed, in batches of one transaction each, and return how many.

    If it is interrupted, whole batches are done, and the next call does the rest.
    """
    done = 0
    for _ in range(_BATCHES):
        due = queries.transfers_due(transfers=_EXPIRED_AT_ONCE, tokens=_FREED_AT_ONCE)
        expired = expire(transfer_ids=due) if due else 0
        done += expired
        if not expired:
            # None is due, or others are deciding on all of these.
            break
    return done


@retry_on_deadlock
def fulfill(
    *,
    actor: Wallet,
    transfer_id: UUID,
    token_ids: Sequence[UUID] | None = None,
    credential_id: UUID | None = None,
) -> queries.TransferRow:
    """
    Move the tokens that a requested transfer asks for out of its source, which the actor controls.

    `token_ids` selects the tokens of a requested bundle; without it the ledger does. If tokens are missing, nothing
    moves and the transfer stays requested. `credential_id` is the credential with which the actor asks: if the source
    demands an approval, the transfer becomes pending, with its tokens reserved, until another gives it.

    :raises transfers.errors.TransferNotFound: no such transfer
    :raises transfers.errors.NotYoursToDecide: the actor does not control the source
    :raises transfers.errors.TransferNotRequested: it is in another state
    :raises transfers.errors.InsufficientTokens: the source has too few free tokens, or not the ones asked for
    :raises transfers.errors.TokensAlreadyNamed: the request named its tokens
    :raises transfers.errors.TooFewTokens: `token_ids` are fewer than asked
    :raises transfers.errors.TooManyTokens: `token_ids` are more than asked
    :raises wallets.errors.TokenNotFound: there is no such token
    :raises transfers.errors.ChosenTokenElsewhere: a chosen token is not in the source
    :raises transfers.errors.TokenReserved: a chosen token is reserved by another transfer
    """
    with transaction.atomic(savepoint=False):
        transfer = lock(transfer_id)
        authorise(transfer, actor, TransferEvent.FULFILL, verb="fulfill")
        state_after(transfer, TransferEvent.FULFILL)
        asked = transfer.parameters.get("tokens")
        fulfillment = ledger.Fulfillment(
            transfer.pk, actor.pk, credential_id, queries.needs_approval(transfer_id=transfer.pk)
        )
        if token_ids is not None:
            _fulfill_with(transfer, fulfillment, token_ids, were_named=asked is not None)
        elif asked is not None:
            named = [UUID(token_id) for token_id in asked]
            if not ledger.fulfill_listed(fulfillment=fulfillment, token_ids=named):
                raise errors.InsufficientTokens
        else:
            _fulfill_bundle(transfer, fulfillment)
        restricted_keys.spend(transfer.token_count)
        if fulfillment.awaits_approval:
            return recorded(transfer, EventType.TRANSFER_APPROVAL_REQUESTED)
        return closed(transfer, TransferEvent.FULFILL)


# The public service's names: "destination" is the side that was asked, and "requestor" the side that asked, in either
# state.
_EVENT_TYPES: Final = {
    TransferEvent.ACCEPT: EventType.TRANSFER_COMPLETED,
    TransferEvent.FULFILL: EventType.TRANSFER_COMPLETED,
    TransferEvent.DECLINE: EventType.TRANSFER_REQUEST_CANCELLED_BY_DESTINATION,
    TransferEvent.DELETE: EventType.TRANSFER_PENDING_CANCELLED_BY_REQUESTOR,
    TransferEvent.EXPIRE: EventType.TRANSFER_FAILED,
    TransferEvent.APPROVE: EventType.TRANSFER_COMPLETED,
    TransferEvent.REFUSE: EventType.TRANSFER_PENDING_CANCELLED_BY_REQUESTOR,
}


def closed(transfer: Transfer, event: TransferEvent) -> queries.TransferRow:
    """Record for both parties that an event closed a transfer, and return the transfer as it is now."""
    return recorded(transfer, _EVENT_TYPES[event])


def recorded(transfer: Transfer, event_type: EventType) -> queries.TransferRow:
    """Record an event for both parties of a transfer, and return the transfer as it is now."""
    row, payload = queries.transfer_and_payload(transfer_id=transfer.pk)
    wallet_operations.record_events(
        [(party, event_type, payload) for party in (transfer.source_id, transfer.destination_id)]
    )
    return row


def _fulfill_with(
    transfer: Transfer, fulfillment: ledger.Fulfillment, token_ids: Sequence[UUID], *, were_named: bool
) -> None:
    if were_named:
        raise errors.TokensAlreadyNamed
    if len(token_ids) < transfer.token_count:
        raise errors.TooFewTokens(transfer.token_count)
    if len(token_ids) > transfer.token_count:
        raise errors.TooManyTokens(transfer.token_count)
    for _ in range(_ATTEMPTS):
        with attempt():
            if ledger.fulfill_listed(fulfillment=fulfillment, token_ids=token_ids):
                return
            try:
                _refuse_tokens(wallet_id=transfer.source_id, token_ids=token_ids)
            except errors.TokenElsewhere as error:
                raise errors.ChosenTokenElsewhere(error.token_id) from error
            raise TooFew
    raise errors.TokenReserved(token_ids[0])


def _fulfill_bundle(transfer: Transfer, fulfillment: ledger.Fulfillment) -> None:
    for wait in (False, True):
        with attempt():
            if ledger.fulfill_bundle(fulfillment=fulfillment, size=transfer.token_count, wait=wait):
                return
            raise TooFew
    raise errors.InsufficientTokens


def lock(transfer_id: UUID) -> Transfer:
    """
    Return a transfer, locked until commit.

    :raises transfers.errors.TransferNotFound: no such transfer
    """
    transfer = Transfer.objects.select_for_update(no_key=True).filter(pk=transfer_id).first()
    if transfer is None:
        raise errors.TransferNotFound(transfer_id)
    return transfer


def state_after(transfer: Transfer, event: TransferEvent) -> TransferState:
    """
    Return the state of the locked transfer after an event. One that has expired counts as failed, even if still open.

    The time is read after the lock: an event that waited for it until the expiry comes too late.
    """
    has_expired = transfer.state in OPEN and transfer.expires_at is not None and transfer.expires_at <= queries.now()
    state = TransferState.FAILED if has_expired else TransferState(transfer.state)
    return next_state(state, event, awaits_approval=transfer.awaits_approval)


def authorise(transfer: Transfer, actor: Wallet, event: TransferEvent, *, verb: str) -> None:
    """Raise unless the actor controls the side of the locked transfer that decides on the event."""
    side = DECIDES.get((TransferState(transfer.state), event), Side.SOURCE)
    wallet_id = transfer.source_id if side is Side.SOURCE else transfer.destination_id
    if not trust_queries.controls_until_commit(actor_id=actor.pk, wallet_id=wallet_id):
        raise errors.NotYoursToDecide(verb)


def issue_tokens(
    *,
    wallet: Wallet,
    count: int | None = None,
    capture_ids: Sequence[UUID] | None = None,
    token_ids: Sequence[UUID] | None = None,
) -> int:
    """
    Create tokens in the wallet and return how many: one for each capture, or `count` with random captures.

    :raises transfers.errors.CaptureAlreadyIssued: a capture has a token already; no token is created
    """
    captures = [uuid4() for _ in range(count or 0)] if capture_ids is None else list(capture_ids)
    with transaction.atomic():
        issued = 0
        for start in range(0, len(captures), ISSUED_AT_ONCE):
            part = slice(start, start + ISSUED_AT_ONCE)
            issued += ledger.issue(
                wallet_id=wallet.pk,
                capture_ids=captures[part],
                token_ids=None if token_ids is None else token_ids[part],
            )
        if issued != len(captures):
            raise errors.CaptureAlreadyIssued(len(captures) - issued)
        if issued >= _MANY:
            transaction.on_commit(partitions.refresh_statistics)
    return issued
