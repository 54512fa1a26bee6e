"""Operations on trusts. Each function is one transaction and authorises on locked rows."""

from collections.abc import Mapping, Sequence
from typing import Final, Literal, Unpack
from uuid import UUID

from django.db import IntegrityError, InterfaceError, OperationalError, connection, transaction
from django.db.models import F, Func, Q, Value
from django.db.models.functions import Now

from trusts import errors, management_rules, queries
from trusts.models import Trust, TrustChange
from trusts.states import OPEN, TRANSITIONS, TrustEvent, TrustRequestType, TrustState, TrustType, next_state
from wallets import errors as wallet_errors
from wallets import images, restrictions
from wallets import operations as wallet_operations
from wallets import queries as wallet_queries
from wallets.deadlocks import retry_on_deadlock
from wallets.models import Wallet
from wallets.states import EventType

# The maximum number of trusts and transfers that an event lists by id; its counts are of all.
_LISTED_IN_AN_EVENT: Final = 100

ImageField = Literal["logo_url", "cover_url"]


@retry_on_deadlock
def open_managed_wallet(*, actor: Wallet, name: str, about: str = "") -> Wallet:
    """
    Create a wallet that the actor manages and return it.

    :raises wallets.errors.InvalidWalletName: the name holds white space or control characters
    :raises wallets.errors.WalletNameLength: it is too short or too long
    :raises wallets.errors.WalletNameTaken: another wallet has it
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


def grant_management(*, actor: Wallet, wallet_ids: Sequence[UUID]) -> None:
    """
    Give the actor a `manage` trust over wallets that this transaction has created: the bulk form of
    `open_managed_wallet`.
    """
    with connection.cursor() as cursor:
        cursor.execute(
            "WITH trust AS ("
            " INSERT INTO trusts_trust"
            "        (id, number, actor_id, target_id, originator_id, request_type, state, withdrawn)"
            " SELECT gen_random_uuid(), nextval('trusts_trust_number'), %(actor)s::uuid, wallet.id, %(actor)s::uuid,"
            "        'manage', 'trusted', false"
            "   FROM unnest(%(wallets)s::uuid[]) AS wallet (id)"
            " RETURNING id)"
            " INSERT INTO trusts_trustchange (trust_id, actor_id, event, state)"
            " SELECT id, %(actor)s::uuid, '', 'trusted' FROM trust",
            {"actor": actor.pk, "wallets": list(wallet_ids)},
        )


def illustrate_wallet(
    *,
    actor: Wallet,
    wallet_id: UUID,
    uploads: Mapping[ImageField, bytes],
    address: str,
    **changes: Unpack[wallet_operations.WalletChanges],
) -> None:
    """
    Store images, and set the URLs of a wallet's logo and cover to them, with other fields of its description.

    `address` is the URL below which stored images are served. No image stays if one of them or the change is refused.
    The caller has opened no transaction; otherwise it calls `store_images` before it.

    :raises wallets.errors.WalletNotControlled: the actor does not control it
    :raises wallets.errors.DomainError: an image is refused, as by `store_images`
    """
    stored = store_images(actor=actor, wallet_id=wallet_id, uploads=uploads)
    for field, name in stored.items():
        changes[field] = f"{address}/{name}"
    try:
        describe_wallet(actor=actor, wallet_id=wallet_id, **changes)
    except (OperationalError, InterfaceError):
        # The transaction may have been committed, although its answer was lost.
        raise
    except BaseException:
        for name in stored.values():
            images.delete(name)
        raise


def store_images(*, actor: Wallet, wallet_id: UUID, uploads: Mapping[ImageField, bytes]) -> dict[ImageField, str]:
    """
    Store images of a wallet for `describe_wallet`, and return their names. None stays if one of them is refused.

    It may take seconds, so the caller has opened no transaction. If it does not refer to the images, it deletes them.

    :raises wallets.errors.WalletNotControlled: the actor does not control it
    :raises wallets.errors.ImageTooLarge: an image has more than 1 MiB
    :raises wallets.errors.NotAnImage: an image is no JPEG or PNG, or damaged
    :raises wallets.errors.TooManyPixels: an image has more than 16,000,000 pixels
    :raises wallets.errors.ImageNotStored: the storage failed
    """
    # Before any work. `describe_wallet` checks it again, on locked rows.
    if not queries.controls(actor_id=actor.pk, wallet_id=wallet_id):
        raise _not_controlled()
    pictures = {field: images.reencoded(content) for field, content in uploads.items()}
    stored: dict[ImageField, str] = {}
    try:
        for field, picture in pictures.items():
            stored[field] = images.store(picture, wallet_id=wallet_id)
    except BaseException:
        for name in stored.values():
            images.delete(name)
        raise
    return stored


def _not_controlled() -> wallet_errors.WalletNotControlled:
    return wallet_errors.WalletNotControlled("You do not have permission to update this wallet")


@retry_on_deadlock
def describe_wallet(*, actor: Wallet, wallet_id: UUID, **changes: Unpack[wallet_operations.WalletChanges]) -> None:
    """
    Set the given fields of a wallet's description.

    :raises wallets.errors.WalletNotControlled: the actor does not control it
    """
    with transaction.atomic(savepoint=False):
        # First the wallet, then the trust, as everywhere: a first password locks the wallet, and then the trust, which
        # has a copy of whether there is one.
        _lock_pair(wallet_id, wallet_id)
        if not queries.controls_until_commit(actor_id=actor.pk, wallet_id=wallet_id):
            raise _not_controlled()
        wallet_operations.change_wallet(wallet_id=wallet_id, **changes)


@retry_on_deadlock
def request_trust(
    *,
    actor: Wallet,
    request_type: TrustRequestType,
    requestee: str,
    requester: str | None = None,
    within_management: bool = True,
) -> queries.TrustRow:
    """
    Request a trust from the wallet `requestee`, for the actor or a wallet that it manages.

    `within_management` permits trusts between a wallet and its manager, and between wallets of one manager.

    :raises wallets.errors.WalletNotFound: no such requestee or requester, each by name or id
    :raises trusts.errors.RequesterNotControlled: the actor does not control the requester
    :raises trusts.errors.TrustWithOneself: requester and requestee are one wallet
    :raises trusts.errors.TrustWithinManagement: one manages the other, or both have one manager
    :raises trusts.errors.TrustAlreadyExists: the same request is open, or one of another type in the opposite direction
    """
    asking = actor if requester is None else wallet_queries.wallet_by_name_or_id(requester)
    target = wallet_queries.wallet_by_name_or_id(requestee)
    with transaction.atomic(savepoint=False):
        _lock_pair(asking.pk, target.pk)
        if not queries.controls_until_commit(actor_id=actor.pk, wallet_id=asking.pk):
            raise errors.RequesterNotControlled
        if request_type in {TrustRequestType.MANAGE, TrustRequestType.YIELD}:
            _refuse_restricted()
        if asking.pk == target.pk:
            raise errors.TrustWithOneself
        if not within_management:
            management_rules.refuse_within_management(asking, target)
        if _is_prevented(actor_id=asking.pk, target_id=target.pk, request_type=request_type):
            raise errors.TrustAlreadyExists
        trust = _create(
            actor=asking,
            target=target,
            originator=actor,
            request_type=request_type,
            state=TrustState.REQUESTED,
        )
        [row] = _recorded([trust], EventType.TRUST_REQUEST)
        return row


@retry_on_deadlock
def accept_trust(*, actor: Wallet, trust_id: UUID) -> queries.TrustRow:
    """
    Accept the trust. Re-instates one that was declined or deleted before.

    :raises trusts.errors.TrustNotAnswerable: no such trust, or the actor does not control its target
    :raises trusts.errors.EndedByOperator: an operator ended it
    :raises trusts.errors.ConsentWithdrawn: it is a `receive` or `yield` that the requester deleted
    :raises trusts.errors.OriginatorWithoutControl: its originator no longer controls its actor
    :raises trusts.errors.ManagementCircle: the two wallets would manage each other
    :raises trusts.errors.ApprovalsDemanded: the wallet that would be managed demands approvals of transfers
    :raises trusts.errors.TrustAlreadyExists: a newer trust with the same actor, target and type is open
    """
    with transaction.atomic(savepoint=False):
        trust = lock(trust_id=trust_id)
        if trust is None or not queries.controls_until_commit(actor_id=actor.pk, wallet_id=trust.target_id):
            raise errors.TrustNotAnswerable(TrustEvent.ACCEPT.value)
        return _change(trust, actor=actor, event=TrustEvent.ACCEPT)


@retry_on_deadlock
def decline_trust(*, actor: Wallet, trust_id: UUID) -> queries.TrustRow:
    """
    Decline the trust, accepted or not; deletes it if the caller controls only its actor.

    :raises trusts.errors.TrustNotAnswerable: no such trust, or the actor controls neither side of it
    """
    with transaction.atomic(savepoint=False):
        trust = lock(trust_id=trust_id)
        event = None if trust is None else _ending(trust, actor=actor, asked=TrustEvent.DECLINE)
        if trust is None or event is None:
            raise errors.TrustNotAnswerable(TrustEvent.DECLINE.value)
        return _change(trust, actor=actor, event=event)


@retry_on_deadlock
def delete_trust(*, actor: Wallet, trust_id: UUID) -> queries.TrustRow:
    """
    Delete the trust, accepted or not; declines it if the caller controls only its target.

    :raises trusts.errors.TrustNotFound: no such trust
    :raises trusts.errors.TrustNotCancellable: the actor controls neither side of it
    """
    with transaction.atomic(savepoint=False):
        trust = lock(trust_id=trust_id)
        if trust is None:
            raise errors.TrustNotFound(trust_id)
        event = _ending(trust, actor=actor, asked=TrustEvent.DELETE)
        if event is None:
            raise errors.TrustNotCancellable
        return _change(trust, actor=actor, event=event)


@retry_on_deadlock
def dismiss_manager(*, actor: Wallet, wallet_id: UUID, manager: str) -> list[queries.TrustRow]:
    """
    End the manager's control of the wallet, and the trusts that it set up; return the ended trusts.

    These are the open trusts of the wallet that give the manager control of it, that the manager requested, or that it
    accepted for the wallet, and declined trusts that would give the manager control if it accepted them. The same is
    done for each manager that loses its control of the wallet by this. A trust is deleted if the wallet is the trust's
    actor, declined if it is the target. Running it again ends what was set up since.

    :raises wallets.errors.WalletNotFound: no such wallet (by id), or no such manager (by name or id)
    :raises wallets.errors.InvalidWalletName: the text can never be a name
    :raises wallets.errors.WalletNotControlled: the actor does not control the wallet
    :raises trusts.errors.DismissalOfOneself: wallet and manager are one
    """
    wallet = wallet_queries.wallet_by_id(wallet_id)
    named = wallet_queries.wallet_by_name_or_id(manager)
    with transaction.atomic(savepoint=False):
        # Every change of a trust locks both its wallets first, so the trusts of this wallet cannot change now.
        _lock_pair(wallet.pk, wallet.pk)
        if not queries.controls_until_commit(actor_id=actor.pk, wallet_id=wallet.pk):
            raise wallet_errors.WalletNotControlled("Have no permission to access this wallet")
        if named.pk == wallet.pk:
            raise errors.DismissalOfOneself
        ended: list[Trust] = []
        dismissed = [named.pk]
        for manager_id in dismissed:
            found = _lock_all(queries.set_up_by(manager_id=manager_id, wallet_id=wallet.pk))
            for event in (TrustEvent.DELETE, TrustEvent.DECLINE):
                side = [trust for trust in found if (trust.actor_id == wallet.pk) is (event is TrustEvent.DELETE)]
                _write(side, actor=actor, event=event, state=TRANSITIONS[TrustState.TRUSTED, event])
            ended += found
            lost = _lost_control(found)
            dismissed += [loser for loser, of in lost if of == wallet.pk and loser not in dismissed]
        _record_lost_control(ended)
        return queries.trust_rows(trust_ids=[trust.pk for trust in ended])


@retry_on_deadlock
def end_trust(*, trust_id: UUID) -> queries.TrustRow:
    """
    End an open trust for an operator. Only a new request can give the same power again.

    :raises trusts.errors.TrustNotFound: no such trust
    :raises trusts.errors.TrustNotOpen: it is neither requested nor trusted
    """
    with transaction.atomic(savepoint=False):
        trust = lock(trust_id=trust_id)
        if trust is None:
            raise errors.TrustNotFound(trust_id)
        return _change(trust, actor=None, event=TrustEvent.END)


def _ending(trust: Trust, *, actor: Wallet, asked: TrustEvent) -> TrustEvent | None:
    """
    Return the event by which the actor ends the locked trust, or None if it controls neither side now.

    DELETE belongs to the trust's actor, DECLINE to its target. Returns `asked` if the caller (`actor`) controls the
    side to which that event belongs, otherwise the event of the side that it controls, so that the state shows which
    side ended the trust. A caller that is itself the trust's actor always deletes it, even if it also manages the
    target: otherwise `decline` would end its `yield` or `receive` without marking it as withdrawn.
    """
    if actor.pk == trust.actor_id and queries.controls(actor_id=actor.pk, wallet_id=actor.pk):
        return TrustEvent.DELETE
    sides = {TrustEvent.DELETE: trust.actor_id, TrustEvent.DECLINE: trust.target_id}
    for event in sorted(sides, key=lambda each: each is not asked):
        if queries.controls_until_commit(actor_id=actor.pk, wallet_id=sides[event]):
            return event
    return None


def _lock_pair(one: UUID, other: UUID) -> None:
    """
    Lock both wallets until commit, so that no other trust between them changes.

    The checks for duplicates and for mutual management read rows that may not exist yet, so trusts cannot be locked in
    their place. Wallets are locked in the order of their ids, in a mode that does not block foreign key checks.
    """
    with connection.cursor() as cursor:
        cursor.execute(
            "SELECT 1 FROM wallets_wallet WHERE id = ANY(%s) ORDER BY id FOR NO KEY UPDATE", [sorted({one, other})]
        )


def lock(*, trust_id: UUID) -> Trust | None:
    """Return the trust, locked until commit, or None if there is none."""
    # The parties never change, so they can be read before they are locked. The lock order is the same as in
    # `request_trust`: first the wallets, then the trust.
    parties = Trust.objects.filter(pk=trust_id).values_list("actor_id", "target_id").first()
    if parties is None:
        return None
    _lock_pair(*parties)
    return Trust.objects.select_for_update(no_key=True).get(pk=trust_id)


def _is_prevented(*, actor_id: UUID, target_id: UUID, request_type: TrustRequestType) -> bool:
    # The public service's rule: the same request again, or any other one in the opposite direction.
    return Trust.objects.filter(
        Q(actor_id=actor_id, target_id=target_id, request_type=request_type)
        | (Q(actor_id=target_id, target_id=actor_id) & ~Q(request_type=request_type)),
        state__in=OPEN,
    ).exists()


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
                request_type=request_type,
                state=state,
            )
    except IntegrityError as error:
        raise errors.TrustAlreadyExists from error
    TrustChange.objects.create(trust_id=trust.pk, actor=originator, state=state)
    return trust


_EVENT_TYPES: Final = {
    TrustState.TRUSTED: EventType.TRUST_REQUEST_GRANTED,
    TrustState.CANCELLED_BY_TARGET: EventType.TRUST_REQUEST_CANCELLED_BY_TARGET,
    TrustState.CANCELLED_BY_ORIGINATOR: EventType.TRUST_REQUEST_CANCELLED_BY_ORIGINATOR,
}


def _recorded(trusts: Sequence[Trust], event_type: EventType) -> list[queries.TrustRow]:
    """Record an event for both parties of each trust, and return the trusts as they are now."""
    rows = {row.id: row for row in queries.trust_rows(trust_ids=[trust.pk for trust in trusts])}
    wallet_operations.record_events(
        [
            (
                party,
                event_type,
                {
                    "trustRelationshipId": trust.pk,
                    "requesterWallet": rows[trust.pk].actor_wallet,
                    "requesteeWallet": rows[trust.pk].target_wallet,
                    "trustRequestType": rows[trust.pk].request_type,
                },
            )
            for trust in trusts
            for party in (trust.actor_id, trust.target_id)
        ]
    )
    return list(rows.values())


def _refuse_restricted() -> None:
    """Refuse a restricted key where control is given, taken or ended: it would outlast the key."""
    if restrictions.current() is not None:
        raise wallet_errors.ControlNeedsSession


def _change(trust: Trust, *, actor: Wallet | None, event: TrustEvent) -> queries.TrustRow:
    before = TrustState(trust.state)
    if trust.type == TrustType.MANAGE:
        _refuse_restricted()
    if event is TrustEvent.ACCEPT and before is TrustState.TRUSTED:
        # A repetition: the same answer, and no change.
        return queries.trust_row(trust_id=trust.pk)
    after = next_state(
        before,
        event,
        request_type=TrustRequestType(trust.request_type),
        is_actors_consent=trust.subject_id == trust.actor_id,
        withdrawn=trust.withdrawn,
        was_ended_by_operator=event is TrustEvent.ACCEPT and queries.was_ended_by_operator(trust_id=trust.pk),
    )
    if event is TrustEvent.ACCEPT:
        if not queries.controls_until_commit(actor_id=trust.originator_id, wallet_id=trust.actor_id):
            raise errors.OriginatorWithoutControl
        if management_rules.would_manage_each_other(trust):
            raise errors.ManagementCircle
        if trust.type == TrustType.MANAGE and wallet_queries.demands_approvals(wallet_id=trust.subject_id):
            raise errors.ApprovalsDemanded
    if after is before:
        return queries.trust_row(trust_id=trust.pk)
    try:
        with transaction.atomic():
            [row] = _write([trust], actor=actor, event=event, state=after)
    except IntegrityError as error:
        raise errors.TrustAlreadyExists from error
    _record_lost_control([trust])
    return row


def _write(
    trusts: Sequence[Trust], *, actor: Wallet | None, event: TrustEvent, state: TrustState
) -> list[queries.TrustRow]:
    """Set the state of locked trusts, record the change, and return them as they are now."""
    if not trusts:
        return []
    # A decline leaves the mark as it is; DELETE and an operator's END set it.
    withdrawn = {TrustEvent.ACCEPT: False, TrustEvent.DECLINE: F("withdrawn")}.get(event, True)
    Trust.objects.filter(pk__in=[trust.pk for trust in trusts]).update(
        state=state, withdrawn=withdrawn, updated_at=Now()
    )
    TrustChange.objects.bulk_create(
        TrustChange(trust_id=trust.pk, actor=actor, event=event, state=state) for trust in trusts
    )
    return _recorded(trusts, _EVENT_TYPES[state])


def _lock_all(trust_ids: Sequence[UUID]) -> list[Trust]:
    return list(Trust.objects.select_for_update(no_key=True).filter(pk__in=trust_ids).order_by("number"))


def _lost_control(ended: Sequence[Trust]) -> dict[tuple[UUID, UUID], UUID]:
    """
    Map each (manager, wallet) whose control ended to the id of the trust that gave it.

    `ended` still hold the state before the change. A manager that controls the wallet by another trust is left out.
    """
    lost = {}
    for trust in ended:
        management = management_rules.management(trust)
        if management is None or trust.state != TrustState.TRUSTED:
            continue
        manager_id, wallet_id = management
        if not queries.controls(actor_id=manager_id, wallet_id=wallet_id):
            lost[management] = trust.pk
    return lost


def _record_lost_control(ended: Sequence[Trust]) -> None:
    """Record an event for each wallet that lost a manager, with what that manager left open."""
    events = []
    for (manager_id, wallet_id), trust_id in _lost_control(ended).items():
        trust_ids = queries.set_up_by(manager_id=manager_id, wallet_id=wallet_id)
        transfer_ids = queries.open_transfers_begun_by(manager_id=manager_id, wallet_id=wallet_id)
        payload = {
            "managerWallet": wallet_queries.wallet_by_id(manager_id).name,
            "trustRelationshipId": trust_id,
            "trustRelationshipsLeft": len(trust_ids),
            "trustRelationshipIds": trust_ids[:_LISTED_IN_AN_EVENT],
            "transfersLeft": len(transfer_ids),
            "transferIds": transfer_ids[:_LISTED_IN_AN_EVENT],
        }
        events.append((wallet_id, EventType.MANAGEMENT_ENDED, payload))
    if events:
        wallet_operations.record_events(events)
