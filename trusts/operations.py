"""Changing trusts. Each function is one transaction and authorises on locked rows."""

from collections.abc import Sequence
from typing import Final
from uuid import UUID

from django.db import IntegrityError, connection, transaction
from django.db.models import F, Func, Q, Value
from django.db.models.functions import Now

from trusts import errors, queries
from trusts.models import Trust, TrustChange
from trusts.states import OPEN, TYPE_OF, TrustEvent, TrustRequestType, TrustState, next_state
from wallets import operations as wallet_operations
from wallets import queries as wallet_queries
from wallets.deadlocks import survives_deadlock
from wallets.models import Wallet
from wallets.states import EventType


@survives_deadlock
def open_managed_wallet(*, actor: Wallet, name: str, about: str = "") -> Wallet:
    """
    Create a wallet that the actor manages and return it.

    :raises wallets.errors.InvalidWalletName: the name holds white space or control characters
    :raises wallets.errors.WalletNameLength: it is too short or too long
    :raises wallets.errors.WalletNameTaken: another wallet bears it
    """
    with transaction.atomic(savepoint=False):
        wallet = wallet_operations.create_wallet(name=name, about=about, creator=actor)
        _create(
            actor=actor,
            target=wallet,
            originator=actor,
            request_type=TrustRequestType.MANAGE,
            state=TrustState.TRUSTED,
        )
    return wallet


def take_charge(*, actor: Wallet, wallet_ids: Sequence[UUID]) -> None:
    """
    Let the actor manage wallets that the transaction of the caller has created.

    That is what `open_managed_wallet` does, for many at once.
    """
    with connection.cursor() as cursor:
        cursor.execute(
            "WITH trust AS ("
            " INSERT INTO trusts_trust"
            "        (id, number, actor_id, target_id, originator_id, type, request_type, state, withdrawn)"
            " SELECT gen_random_uuid(), nextval('trusts_trust_number'), %(actor)s::uuid, wallet.id, %(actor)s::uuid,"
            "        'manage', 'manage', 'trusted', false"
            "   FROM unnest(%(wallets)s::uuid[]) AS wallet (id)"
            " RETURNING id)"
            " INSERT INTO trusts_trustchange (trust_id, actor_id, event, state)"
            " SELECT id, %(actor)s::uuid, '', 'trusted' FROM trust",
            {"actor": actor.pk, "wallets": list(wallet_ids)},
        )


@survives_deadlock
def request_trust(
    *, actor: Wallet, request_type: TrustRequestType, requestee: str, requester: str | None = None
) -> queries.TrustRow:
    """
    Ask the wallet `requestee` for a trust, in the name of the actor or of a wallet that it manages.

    :raises wallets.errors.WalletNotFound: no such requestee or requester, each by name or id
    :raises trusts.errors.RequesterNotControlled: the actor does not control the requester
    :raises trusts.errors.TrustWithOneself: requester and requestee are one wallet
    :raises trusts.errors.TrustAlreadyExists: an open trust of the same meaning stands in the way
    """
    asking = actor if requester is None else wallet_queries.wallet_by_name_or_id(requester)
    target = wallet_queries.wallet_by_name_or_id(requestee)
    with transaction.atomic(savepoint=False):
        _lock_pair(asking.pk, target.pk)
        if not queries.controls_until_commit(actor_id=actor.pk, wallet_id=asking.pk):
            raise errors.RequesterNotControlled
        if asking.pk == target.pk:
            raise errors.TrustWithOneself
        if _stands_in_the_way(actor_id=asking.pk, target_id=target.pk, request_type=request_type):
            raise errors.TrustAlreadyExists
        trust = _create(
            actor=asking,
            target=target,
            originator=actor,
            request_type=request_type,
            state=TrustState.REQUESTED,
        )
        return _announced(trust, EventType.TRUST_REQUEST)


@survives_deadlock
def accept_trust(*, actor: Wallet, trust_id: UUID) -> queries.TrustRow:
    """
    Let the trust take effect. Re-instates one that was declined or deleted before.

    :raises trusts.errors.TrustNotAnswerable: no such trust, or the actor does not control its target
    :raises trusts.errors.YieldWithdrawn: the originator of this `yield` deleted it
    :raises trusts.errors.ManagementCircle: the two wallets would manage each other
    :raises trusts.errors.TrustAlreadyExists: a newer request of the same meaning is open
    """
    return _answer(actor=actor, trust_id=trust_id, event=TrustEvent.ACCEPT)


@survives_deadlock
def decline_trust(*, actor: Wallet, trust_id: UUID) -> queries.TrustRow:
    """
    Refuse the trust, or end it after it was accepted.

    :raises trusts.errors.TrustNotAnswerable: no such trust, or the actor does not control its target
    """
    return _answer(actor=actor, trust_id=trust_id, event=TrustEvent.DECLINE)


@survives_deadlock
def delete_trust(*, actor: Wallet, trust_id: UUID) -> queries.TrustRow:
    """
    Withdraw the trust, whether it was accepted or not.

    :raises trusts.errors.TrustNotFound: no such trust
    :raises trusts.errors.TrustNotCancellable: the actor is not its originator
    """
    with transaction.atomic(savepoint=False):
        trust = _lock(trust_id)
        if trust is None:
            raise errors.TrustNotFound(trust_id)
        if trust.originator_id != actor.pk:
            raise errors.TrustNotCancellable
        return _change(trust, actor=actor, event=TrustEvent.DELETE)


def _answer(*, actor: Wallet, trust_id: UUID, event: TrustEvent) -> queries.TrustRow:
    with transaction.atomic(savepoint=False):
        trust = _lock(trust_id)
        if trust is None or not queries.controls_until_commit(actor_id=actor.pk, wallet_id=trust.target_id):
            raise errors.TrustNotAnswerable(event.value)
        return _change(trust, actor=actor, event=event)


def _lock_pair(one: UUID, other: UUID) -> None:
    """
    Let no other change of trusts between the two wallets run until commit.

    The rules on duplicates and circles look at other rows than the one that changes, some of
    which may not exist yet, so the two wallets are locked: in the order of their ids, without
    disturbing those who only refer to them.
    """
    with connection.cursor() as cursor:
        cursor.execute(
            "SELECT 1 FROM wallets_wallet WHERE id = ANY(%s) ORDER BY id FOR NO KEY UPDATE", [sorted({one, other})]
        )


def _lock(trust_id: UUID) -> Trust | None:
    # The parties never change, so they can be read before they are locked. The wallets come
    # first, as in `request_trust`, and the trust last: one order for all.
    parties = Trust.objects.filter(pk=trust_id).values_list("actor_id", "target_id").first()
    if parties is None:
        return None
    _lock_pair(*parties)
    return Trust.objects.select_for_update(no_key=True).get(pk=trust_id)


def _stands_in_the_way(*, actor_id: UUID, target_id: UUID, request_type: TrustRequestType) -> bool:
    # The public service's rule: the same request again, or any other one in the opposite direction.
    return Trust.objects.filter(
        Q(actor_id=actor_id, target_id=target_id, request_type=request_type)
        | (Q(actor_id=target_id, target_id=actor_id) & ~Q(request_type=request_type)),
        state__in=OPEN,
    ).exists()


def _would_close_a_circle(trust: Trust) -> bool:
    match trust.request_type:
        case TrustRequestType.MANAGE:
            manager_id, managed_id = trust.actor_id, trust.target_id
        case TrustRequestType.YIELD:
            manager_id, managed_id = trust.target_id, trust.actor_id
        case _:
            return False
    return queries.controls(actor_id=managed_id, wallet_id=manager_id)


def _create(
    *, actor: Wallet, target: Wallet, originator: Wallet, request_type: TrustRequestType, state: TrustState
) -> Trust:
    try:
        with transaction.atomic():
            trust = Trust.objects.create(
                number=Func(Value("trusts_trust_number"), function="nextval"),
                actor=actor,
                target=target,
                originator=originator,
                type=TYPE_OF[request_type],
                request_type=request_type,
                state=state,
            )
    except IntegrityError as error:
        raise errors.TrustAlreadyExists from error
    TrustChange.objects.create(trust_id=trust.pk, actor=originator, state=state)
    return trust


_EVENT_TYPES: Final = {
    TrustEvent.ACCEPT: EventType.TRUST_REQUEST_GRANTED,
    TrustEvent.DECLINE: EventType.TRUST_REQUEST_CANCELLED_BY_TARGET,
    TrustEvent.DELETE: EventType.TRUST_REQUEST_CANCELLED_BY_ORIGINATOR,
}


def _announced(trust: Trust, event_type: EventType) -> queries.TrustRow:
    """Let both parties read of the change, and return the trust as it is now."""
    row = queries.trust_row(trust_id=trust.pk)
    payload = {
        "trustRelationshipId": trust.pk,
        "requesterWallet": row.actor_wallet,
        "requesteeWallet": row.target_wallet,
        "trustRequestType": row.request_type,
    }
    wallet_operations.record_events([(party, event_type, payload) for party in (trust.actor_id, trust.target_id)])
    return row


def _change(trust: Trust, *, actor: Wallet, event: TrustEvent) -> queries.TrustRow:
    before = TrustState(trust.state)
    after = next_state(before, event, request_type=TrustRequestType(trust.request_type), withdrawn=trust.withdrawn)
    if event is TrustEvent.ACCEPT and _would_close_a_circle(trust):
        raise errors.ManagementCircle
    if after is before:
        # Said again: the answer is the same, and nothing happened.
        return queries.trust_row(trust_id=trust.pk)
    withdrawn = {TrustEvent.ACCEPT: False, TrustEvent.DELETE: True, TrustEvent.DECLINE: F("withdrawn")}[event]
    try:
        with transaction.atomic():
            Trust.objects.filter(pk=trust.pk).update(state=after, withdrawn=withdrawn, updated_at=Now())
    except IntegrityError as error:
        raise errors.TrustAlreadyExists from error
    TrustChange.objects.create(trust_id=trust.pk, actor=actor, event=event, state=after)
    return _announced(trust, _EVENT_TYPES[event])
