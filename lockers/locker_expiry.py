"""
What is known now about a locker that expires: what came back, what another holder of the code took, what is unknown.

Derived from the locker and its coins whenever it is shown, so that an earlier task or receipt never says what is no
longer true.
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum
from uuid import UUID

from django.db.models import Count
from django.utils import timezone

from lockers.coin_outcomes import amount_verb, coins_text
from lockers.models import Coin, Locker
from lockers.raida.coins import value_of
from lockers.raida.statuses import QUORUM, RAIDA_COUNT
from lockers.states import SPENDABLE, CoinState, LockerState


class Outcome(StrEnum):
    """What became of the coins of a locker that expires."""

    OPEN = "open"  # it has not expired, and may hold coins
    UNKNOWN = "unknown"  # it has expired, and where some of its coins are is not known yet
    TAKEN_BACK = "taken_back"  # all of them came back
    PARTLY_TAKEN_BACK = "partly_taken_back"  # others were taken by another holder of the code
    TAKEN = "taken"  # all of them were
    NOTHING_STORED = "nothing_stored"  # the put stored no coin


@dataclass(frozen=True, slots=True)
class Expiry:
    """
    What is known about a locker that expires; amounts are in units of 10^-8.

    `unknown` is what may still be in it. `next_at` is when the servers are asked next, None once nothing is unknown.
    """

    expires_at: datetime
    outcome: Outcome
    returned: int
    returned_at: datetime | None
    taken: int
    unknown: int
    next_at: datetime | None
    was_taken_in_time: bool = False

    @property
    def message(self) -> str:
        """Return it as one or more sentences."""
        match self.outcome:
            case Outcome.OPEN:
                return f"Expires on {_time(self.expires_at)}: what is in the locker then is taken back."
            case Outcome.NOTHING_STORED:
                return ""
            case Outcome.TAKEN_BACK:
                return f"Taken back on {_time(self.returned_at)}."
            case Outcome.TAKEN:
                when = "it expired" if self.was_taken_in_time else "it was taken back"
                return f"Taken by another holder of the code before {when}."
        parts = []
        if self.returned:
            parts.append(f"{coins_text(self.returned)} taken back on {_time(self.returned_at)}")
        if self.taken:
            verb = amount_verb(self.taken, "was", "were")
            parts.append(f"{coins_text(self.taken)} {verb} taken by another holder of the code")
        if self.unknown:
            parts.append(
                f"not known yet where {coins_text(self.unknown)} {amount_verb(self.unknown)}: {QUORUM} of {RAIDA_COUNT}"
                " servers must say, and they are asked again automatically"
            )
        text = "; ".join(parts)
        return f"Expired on {_time(self.expires_at)}: {text}."


def _time(moment: datetime | None) -> str:
    return "–" if moment is None else f"{moment:%Y-%m-%d at %H:%M:%S} UTC"


def of_locker(locker: Locker | None) -> Expiry | None:
    """Return what is known about a locker, or None for none and for one that never expires."""
    return None if locker is None else of_lockers([locker]).get(locker.pk)


def of_lockers(lockers: Iterable[Locker]) -> Mapping[UUID, Expiry]:
    """Return the same for several lockers, by id, in one statement; lockers that never expire are left out."""
    expiring = {locker.pk: locker for locker in lockers if locker.expires_at is not None}
    if not expiring:
        return {}
    units: dict[UUID, dict[CoinState, int]] = {}
    rows = (
        Coin.objects.filter(locker__in=list(expiring))
        .order_by()
        .values_list("locker_id", "state", "denomination")
        .annotate(number=Count("id"))
    )
    for locker_id, state, denomination, number in rows:
        assert locker_id is not None
        of_state = units.setdefault(locker_id, {})
        of_state[CoinState(state)] = of_state.get(CoinState(state), 0) + value_of(denomination) * number
    now = timezone.now()
    return {key: _expiry(locker, units.get(key, {}), now) for key, locker in expiring.items()}


def _expiry(locker: Locker, units: Mapping[CoinState, int], now: datetime) -> Expiry:
    assert locker.expires_at is not None
    sent = units.get(CoinState.SENT, 0)
    unknown = sum(units.get(state, 0) for state in (CoinState.LOCKED, CoinState.LIMBO, *SPENDABLE))
    taken = max(0, sent - locker.returned)
    return Expiry(
        expires_at=locker.expires_at,
        outcome=_outcome(locker, unknown=unknown, taken=taken, has_expired=locker.expires_at <= now),
        returned=locker.returned,
        returned_at=locker.returned_at,
        taken=taken,
        unknown=unknown,
        next_at=locker.take_back_at,
        was_taken_in_time=locker.changed_at <= locker.expires_at,
    )


def _outcome(locker: Locker, *, unknown: int, taken: int, has_expired: bool) -> Outcome:
    if unknown or locker.state == LockerState.FILLING:
        return Outcome.UNKNOWN if has_expired else Outcome.OPEN
    if not taken and not locker.returned:
        return Outcome.NOTHING_STORED
    if not taken:
        return Outcome.TAKEN_BACK
    return Outcome.PARTLY_TAKEN_BACK if locker.returned else Outcome.TAKEN
