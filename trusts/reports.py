"""The trusts of a wallet, for operators: one statement each, and bounded."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final
from uuid import UUID

from django.db.models import Q

from trusts.models import Trust, TrustChange
from trusts.states import OPEN

# A picture of more would say nothing.
NEIGHBOURS_SHOWN: Final = 24


@dataclass(frozen=True, slots=True)
class Neighbour:
    """A wallet that shares an open trust with another, and what that trust says in words."""

    trust_id: UUID
    wallet_id: UUID
    name: str
    says: str
    state: str
    # Whether value or power goes from the wallet in the middle to this one.
    goes_out: bool


# For each kind of request: what it lets its actor do with its target, and whether that goes from actor to target.
_SAYS: Final = {
    "send": ("may send to {target} without asking", True),
    "receive": ("may be sent to by {target} without asking", False),
    "manage": ("manages {target}", True),
    "yield": ("is managed by {target}", False),
}


def meaning(trust: Trust) -> str:
    """Say in a sentence what the trust gives, or would give once it is accepted. Its wallets are loaded."""
    says, _ = _SAYS[trust.request_type]
    return f"{trust.actor.name} {says.format(target=trust.target.name)}"


def neighbours(*, wallet_id: UUID) -> Sequence[Neighbour]:
    """Return the wallets that share an open trust with this one, the oldest trust first; at most 25, one too many."""
    found = (
        Trust.objects.filter(Q(actor_id=wallet_id) | Q(target_id=wallet_id), state__in=OPEN, number__gt=0)
        .select_related("actor", "target")
        .only("id", "state", "request_type", "actor__name", "target__name")
        .order_by("number")[: NEIGHBOURS_SHOWN + 1]
    )
    result = []
    for trust in found:
        is_actor = trust.actor_id == wallet_id
        other = trust.target if is_actor else trust.actor
        _, forward = _SAYS[trust.request_type]
        result.append(Neighbour(trust.pk, other.pk, other.name, meaning(trust), trust.state, forward is is_actor))
    return result


def changes_of(*, trust_id: UUID) -> Sequence[TrustChange]:
    """Return what happened to a trust, in order; the last hundred things."""
    newest = TrustChange.objects.filter(trust_id=trust_id).select_related("actor").defer("actor__password")
    return list(reversed(newest.order_by("-pk")[:100]))
