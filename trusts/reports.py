"""Reports of trusts for operators: one statement each, with a bounded number of rows."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final
from uuid import UUID

from django.db.models.expressions import RawSQL

from trusts.models import Trust, TrustChange
from trusts.states import OPEN, TrustState, TrustType
from wallets.models import Wallet

# More would make the diagram unreadable.
NEIGHBOURS_SHOWN: Final = 30


@dataclass(frozen=True, slots=True)
class Neighbour:
    """A wallet that shares an open trust with the given one; `says` describes the trust."""

    trust_id: UUID
    wallet_id: UUID
    name: str
    says: str
    state: str
    # The wallet that was logged in when the trust was requested.
    asker: str
    # Whether the given wallet holds the power.
    goes_out: bool


# For each power: what its holder may do, with the holder and with the subject as the sentence's subject.
_HOLDER_SAYS: Final = {TrustType.SEND: "may send to {} without asking", TrustType.MANAGE: "manages {}"}
_SUBJECT_SAYS: Final = {TrustType.SEND: "may be sent to by {} without asking", TrustType.MANAGE: "is managed by {}"}


def meaning(trust: Trust) -> str:
    """Return a sentence about the actor: what the trust gives, or would give once accepted. Its wallets are loaded."""
    says = (_HOLDER_SAYS if trust.holder_id == trust.actor_id else _SUBJECT_SAYS)[TrustType(trust.type)]
    return f"{trust.actor.name} {says.format(trust.target.name)}"


# A constant of the statement: the indexes of both sides are used only with it. The states are none, because an index
# of open trusts would be used, which does not begin with the second side.
_ZERO: Final = RawSQL("0", ())
_OPEN: Final = [RawSQL(f"SELECT '{state.value}'", ()) for state in OPEN]  # noqa: S611 - constants


def neighbours(*, wallet_id: UUID) -> Sequence[Neighbour]:
    """Return the wallets that share an open trust with this one, the oldest trust first; at most 31, one too many."""
    sides = [
        Trust.objects.filter(**{side: wallet_id}, state__in=_OPEN, number__gt=_ZERO)
        .order_by("number")
        .values("number")[: NEIGHBOURS_SHOWN + 1]
        for side in ("actor_id", "target_id")
    ]
    found = (
        # With two conditions and OR, PostgreSQL may read all trusts in their order.
        Trust.objects.filter(number__in=sides[0].union(sides[1], all=True))
        .select_related("actor", "target", "originator")
        .only("id", "state", "type", "holder_id", "actor__name", "target__name", "originator__name")
        .order_by("number")[: NEIGHBOURS_SHOWN + 1]
    )
    result = []
    for trust in found:
        other = trust.target if trust.actor_id == wallet_id else trust.actor
        goes_out = trust.holder_id == wallet_id
        result.append(
            Neighbour(trust.pk, other.pk, other.name, meaning(trust), trust.state, trust.originator.name, goes_out)
        )
    return result


def managed_by(*, wallet_id: UUID, limit: int) -> Sequence[Wallet]:
    """Return the wallets that this one manages now, by name: at most `limit`. Only id and name are loaded."""
    held = Trust.objects.filter(
        holder_id=wallet_id, state=TrustState.TRUSTED, type=TrustType.MANAGE, managed_created_at__isnull=False
    )
    # Two trusts may give the same power.
    found = held.order_by("managed_name", "subject_id").values_list("subject_id", "managed_name").distinct()[:limit]
    return [Wallet(pk=subject_id, name=name or "") for subject_id, name in found]


def managers_of(*, wallet_id: UUID) -> Sequence[Wallet]:
    """Return the wallets that manage this one now, by name. Only id and name are loaded."""
    held = Trust.objects.filter(subject_id=wallet_id, state=TrustState.TRUSTED, type=TrustType.MANAGE)
    return list(Wallet.objects.filter(pk__in=held.values("holder_id")).only("id", "name").order_by("name_key"))


def changes_of(*, trust_id: UUID) -> Sequence[TrustChange]:
    """Return the last 100 changes of a trust, in order."""
    newest = TrustChange.objects.filter(trust_id=trust_id).select_related("actor").defer("actor__password")
    return list(reversed(newest.order_by("-pk")[:100]))
