"""Which trusts management allows: not within one, and none that goes both ways."""

from uuid import UUID

from trusts import errors, queries
from trusts.models import Trust
from trusts.states import TrustType
from wallets.models import Wallet


def refuse_within_management(requester: Wallet, requestee: Wallet) -> None:
    if queries.controls(actor_id=requester.pk, wallet_id=requestee.pk):
        raise errors.TrustWithinManagement("The requesting wallet already manages the target wallet")
    if queries.controls(actor_id=requestee.pk, wallet_id=requester.pk):
        raise errors.TrustWithinManagement("The requesting wallet is managed by the target wallet")
    if queries.have_one_manager(requester.pk, requestee.pk):
        raise errors.TrustWithinManagement(
            "Cannot send trust relationship request to a sub wallet with the same parent"
        )


def management(trust: Trust) -> tuple[UUID, UUID] | None:
    """Return manager and managed wallet of a trust that gives control, or None."""
    return (trust.holder_id, trust.subject_id) if trust.type == TrustType.MANAGE else None


def would_manage_each_other(trust: Trust) -> bool:
    found = management(trust)
    return found is not None and queries.controls(actor_id=found[1], wallet_id=found[0])
