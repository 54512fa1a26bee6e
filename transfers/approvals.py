"""
Approvals: a wallet may require that a second credential approves transfers of its tokens.

A `queries.Demand` says which transfers: of more than a number of tokens, to new receivers, or both. A transfer that
needs an approval is pending for its own side first, with its tokens reserved; so is a request that is fulfilled. A
claim link that would need one is refused.

**Who approves**: a wallet that controls the source now, with another credential than the one that asked. A credential
is a bearer token, that is one login; a manager's own login is another one. What was requested without a login (by a
command, or with a credential that a login can create) is approved by another wallet only, a manager or the owner. A
person who knows the password of a wallet can log in again; one who has a bearer token of it cannot.

**A change that loosens a demand** has its effect when two credentials have asked for the same one, within a day. One is
enough for a change that only tightens. While a wallet demands approvals no other wallet begins to manage it
(`trusts.operations`): otherwise one credential could obtain a second one.

Locks: the transfer, then the trusts, then the tokens; for a change the wallet, then the trusts.
"""

from datetime import datetime, timedelta
from typing import Final, NamedTuple
from uuid import UUID

from django.db import connection, transaction
from django.db.models.functions import Now

from transfers import errors, operations, queries
from transfers.models import ApprovalChange, KnownReceiver, Transfer
from transfers.queries import Demand
from transfers.states import ApprovalOf, TransferEvent
from trusts import queries as trust_queries
from wallets import errors as wallet_errors
from wallets import operations as wallet_operations
from wallets import queries as wallet_queries
from wallets.deadlocks import retry_on_deadlock
from wallets.models import Wallet
from wallets.states import EventType

# A change that is not confirmed within this time must be asked for again.
CHANGES_EXPIRE_AFTER: Final = timedelta(days=1)


class Standing(NamedTuple):
    """What a wallet demands, the change that waits for its confirmation, and until when this can be confirmed."""

    demand: Demand
    asked: Demand | None
    expires_at: datetime | None


@retry_on_deadlock
def approve(*, actor: Wallet, credential_id: UUID | None, transfer_id: UUID) -> queries.TransferRow:
    """
    Approve a transfer for its source, which the actor controls; it goes on as it would have gone without the demand.

    A fulfilled request completes. A transfer completes if the wallet that made it controls the destination now, or a
    trust allows sending now; otherwise it is pending for the destination. The wallet decides, also for a transfer that
    its restricted key made without reaching the destination: such a transfer takes a whole login of a wallet that
    controls the source to go on, and its tokens arrive at a wallet of the key's own owner, nowhere else.

    :raises transfers.errors.TransferNotFound: no such transfer
    :raises transfers.errors.NotYoursToDecide: the actor does not control the source
    :raises transfers.errors.ApprovalNotAwaited: it does not await an approval
    :raises transfers.errors.SameCredential: the credential is the one that asked for the approval
    :raises transfers.errors.AskerWithoutControl: the wallet that asked for it no longer controls the source
    """
    with transaction.atomic(savepoint=False):
        transfer = operations.lock(transfer_id)
        operations.authorise(transfer, actor, TransferEvent.APPROVE, verb="approve")
        operations.state_after(transfer, TransferEvent.APPROVE)
        asker_id, asked_with = transfer.approval_asked_by_id, transfer.approval_asked_with
        assert asker_id is not None
        # What was asked for without a login may have been asked for by any login of the wallet.
        is_same = credential_id == asked_with or (asked_with is None and actor.pk == asker_id)
        if credential_id is None or is_same:
            raise errors.SameCredential
        if not trust_queries.controls_until_commit(actor_id=asker_id, wallet_id=transfer.source_id):
            raise errors.AskerWithoutControl
        Transfer.objects.filter(pk=transfer.pk).update(
            approved_at=Now(), approved_by=actor, approved_with=credential_id
        )
        _keep_receiver(transfer)
        if transfer.approval_of == ApprovalOf.SEND and not _may_complete(transfer, asker_id):
            return operations.recorded(transfer, EventType.TRANSFER_REQUESTED)
        operations.complete_reserved(transfer, actor=actor, event=TransferEvent.APPROVE)
        return operations.closed(transfer, TransferEvent.APPROVE)


def _keep_receiver(transfer: Transfer) -> None:
    if queries.demand_of(wallet_id=transfer.source_id).new_receivers:
        known = KnownReceiver(wallet_id=transfer.source_id, receiver_id=transfer.destination_id)
        KnownReceiver.objects.bulk_create([known], ignore_conflicts=True)


def _may_complete(transfer: Transfer, asker_id: UUID) -> bool:
    """As `sql/parts/decision.sql` decides for a wallet that controls the source."""
    return trust_queries.controls_until_commit(
        actor_id=asker_id, wallet_id=transfer.destination_id
    ) or trust_queries.may_push_until_commit(sender_id=transfer.source_id, receiver_id=transfer.destination_id)


@retry_on_deadlock
def refuse(*, actor: Wallet, transfer_id: UUID) -> queries.TransferRow:
    """
    Cancel a transfer that awaits an approval, for its source, and free its tokens. Any credential may.

    :raises transfers.errors.TransferNotFound: no such transfer
    :raises transfers.errors.NotYoursToDecide: the actor does not control the source
    :raises transfers.errors.ApprovalNotAwaited: it does not await an approval
    """
    return operations.cancel(actor=actor, transfer_id=transfer_id, event=TransferEvent.REFUSE, verb="refuse")


def standing(*, actor: Wallet, wallet_id: UUID) -> Standing:
    """
    Return what a wallet that the actor controls demands, and the change that waits for its confirmation.

    :raises wallets.errors.WalletNotFound: no such wallet
    :raises wallets.errors.WalletNotControlled: the actor does not control it
    """
    return _standing(trust_queries.wallet_controlled_by(actor_id=actor.pk, wallet_id=wallet_id).pk)


def _standing(wallet_id: UUID) -> Standing:
    change = _valid_change(wallet_id)
    demand = queries.demand_of(wallet_id=wallet_id)
    if change is None:
        return Standing(demand, None, None)
    return Standing(demand, Demand(change.above, change.new_receivers), change.asked_at + CHANGES_EXPIRE_AFTER)


def _valid_change(wallet_id: UUID) -> ApprovalChange | None:
    return ApprovalChange.objects.filter(pk=wallet_id, asked_at__gt=Now() - CHANGES_EXPIRE_AFTER).first()


def _not_controlled() -> wallet_errors.WalletNotControlled:
    return wallet_errors.WalletNotControlled("Have no permission to access this wallet")


@retry_on_deadlock
def demand(*, actor: Wallet, credential_id: UUID | None, wallet_id: UUID, wanted: Demand) -> Standing:
    """
    Change which transfers of a wallet that the actor controls need an approval, or ask for the change.

    A demand that lets no transfer pass which needs an approval now has its effect at once. Any other waits until it is
    asked for again with another credential.

    :raises wallets.errors.WalletNotFound: no such wallet
    :raises wallets.errors.WalletNotControlled: the actor does not control it
    """
    wallet = wallet_queries.wallet_by_id(wallet_id)
    with transaction.atomic(savepoint=False):
        _lock(wallet)
        if not trust_queries.controls_until_commit(actor_id=actor.pk, wallet_id=wallet.pk):
            raise _not_controlled()
        present = queries.demand_of(wallet_id=wallet.pk)
        if not _may_pass(present, wanted) and not _is_confirmed(wallet, wanted, credential_id):
            if not _is_asked(wallet, wanted, credential_id):
                ApprovalChange.objects.update_or_create(
                    wallet=wallet,
                    defaults={
                        "above": wanted.above,
                        "new_receivers": wanted.new_receivers,
                        "asked_by": actor,
                        "asked_with": credential_id,
                        "asked_at": Now(),
                    },
                )
                _record(wallet, EventType.APPROVAL_CHANGE_REQUESTED, wanted)
            return _standing(wallet.pk)
        ApprovalChange.objects.filter(pk=wallet.pk).delete()
        if wanted != present:
            Wallet.objects.filter(pk=wallet.pk).update(
                approval_above=wanted.above, approval_of_new_receivers=wanted.new_receivers or None
            )
            _keep_receivers(wallet, before=present.new_receivers, after=wanted.new_receivers)
            _record(wallet, EventType.APPROVAL_CHANGED, wanted)
        return _standing(wallet.pk)


def _lock(wallet: Wallet) -> None:
    """Lock the wallet until commit: changes of its demand, and of who manages it, come one after the other."""
    Wallet.objects.select_for_update(no_key=True).values_list("pk").get(pk=wallet.pk)


def _may_pass(present: Demand, wanted: Demand) -> bool:
    """Return whether one credential is enough for the change."""
    return not present.is_loosened_by(wanted)


def _is_asked(wallet: Wallet, wanted: Demand, credential_id: UUID | None) -> bool:
    """Return whether the same credential has asked for the same change, so that a repetition does not prolong it."""
    change = _valid_change(wallet.pk)
    return change is not None and (change.above, change.new_receivers) == wanted and change.asked_with == credential_id


def _is_confirmed(wallet: Wallet, wanted: Demand, credential_id: UUID | None) -> bool:
    """Return whether another credential, whose wallet controls this one now, has asked for the same change."""
    change = _valid_change(wallet.pk)
    return (
        change is not None
        and (change.above, change.new_receivers) == wanted
        and credential_id is not None
        and change.asked_with is not None
        and change.asked_with != credential_id
        and trust_queries.controls_until_commit(actor_id=change.asked_by_id, wallet_id=wallet.pk)
    )


def _keep_receivers(wallet: Wallet, *, before: bool, after: bool) -> None:
    """Begin, or end, to keep the wallets to which the wallet has sent."""
    if after and not before:
        with connection.cursor() as cursor:
            cursor.execute(
                "INSERT INTO transfers_knownreceiver (wallet_id, receiver_id)"
                " SELECT DISTINCT source_id, destination_id FROM transfers_transfer"
                "  WHERE source_id = %s AND state = 'completed' ON CONFLICT DO NOTHING",
                [wallet.pk],
            )
    elif before and not after:
        KnownReceiver.objects.filter(wallet=wallet).delete()


def _record(wallet: Wallet, event_type: EventType, wanted: Demand) -> None:
    payload = {"wallet": wallet.name, "above": wanted.above, "newReceivers": wanted.new_receivers}
    wallet_operations.record_events([(wallet.pk, event_type, payload)])
