"""
How the ledger stands, for operators: a fixed number of statements, however many tokens and transfers there are.

Nothing here counts tokens or movements. What completed at once is read from tallies (`transfers.counters`); what did
not is rare, and has partial indexes of its own.
"""

from collections.abc import Sequence
from datetime import date, datetime, timedelta
from typing import Final, NamedTuple
from uuid import UUID

from django.db import connection
from django.db.models import Q, QuerySet
from django.db.models.functions import Now

from transfers import counters
from transfers.models import Movement, Transfer
from transfers.states import DECIDES, OPEN, TRANSITIONS, Side, TransferEvent, TransferState
from wallets.models import OperatorAction, Token, Wallet
from wallets.states import OperatorVerb

# Where the ages of open transfers are divided; the last group is older than all.
AGE_LIMITS: Final = (timedelta(hours=1), timedelta(days=1), timedelta(days=3), timedelta(days=7))


class Waiting(NamedTuple):
    """Open transfers of one state: how many, the tokens asked, since when the oldest waits, how many of each age."""

    transfers: int
    tokens: int
    oldest_at: datetime | None
    by_age: tuple[int, ...]


class Standing(NamedTuple):
    """What of the ledger must agree, and who waits."""

    issued: int
    held: int
    # Tokens that say they are reserved, and tokens that pending transfers say they reserve.
    reserved_tokens: int
    reserved_by_transfers: int
    pending: Waiting
    requested: Waiting
    has_transfers: bool

    @property
    def is_sound(self) -> bool:
        return self.issued == self.held and self.reserved_tokens == self.reserved_by_transfers


_BUCKETS: Final = ", ".join(
    f"count(*) FILTER (WHERE state = '{state.value}' AND age = {group})"
    for state in (TransferState.PENDING, TransferState.REQUESTED)
    for group in range(len(AGE_LIMITS) + 1)
)
_STANDING: Final = f"""
SELECT (SELECT coalesce(sum(tokens), 0) FROM transfers_issue),
       (SELECT coalesce(sum(tokens), 0) FROM transfers_tokentally)
           + (SELECT coalesce(sum(tokens), 0) FROM transfers_tallydelta),
       (SELECT count(*) FROM wallets_token WHERE transfer_pending_id IS NOT NULL),
       coalesce(sum(reserved_count), 0),
       count(*) FILTER (WHERE state = 'pending'),
       coalesce(sum(token_count) FILTER (WHERE state = 'pending'), 0),
       min(created_at) FILTER (WHERE state = 'pending'),
       count(*) FILTER (WHERE state = 'requested'),
       coalesce(sum(token_count) FILTER (WHERE state = 'requested'), 0),
       min(created_at) FILTER (WHERE state = 'requested'),
       EXISTS (SELECT FROM transfers_transfer),
       {_BUCKETS}
  FROM (SELECT state, reserved_count, token_count, created_at,
               width_bucket(now() - created_at, %(limits)s::interval[]) AS age
          FROM transfers_transfer WHERE state IN ('requested', 'pending')) AS open
"""  # noqa: S608 - constants


def standing() -> Standing:
    """Return how the ledger stands, in one statement."""
    with connection.cursor() as cursor:
        cursor.execute(_STANDING, {"limits": list(AGE_LIMITS)})
        row = cursor.fetchone()
    groups = len(AGE_LIMITS) + 1
    pending = Waiting(row[4], int(row[5]), row[6], tuple(row[11 : 11 + groups]))
    requested = Waiting(row[7], int(row[8]), row[9], tuple(row[11 + groups :]))
    return Standing(int(row[0]), int(row[1]), int(row[2]), int(row[3]), pending, requested, row[10])


class Day(NamedTuple):
    """How many transfers were made on one day (UTC) and are in one state now."""

    day: date
    state: str
    transfers: int


_DAYS: Final = f"""
SELECT day, state, sum(transfers)
  FROM (SELECT day, 'completed' AS state, transfers FROM transfers_daytally WHERE day >= %(since)s
         UNION ALL
        SELECT (created_at AT TIME ZONE 'UTC')::date, 'completed', count(*) FROM transfers_transfer
         WHERE number > {counters.MARK} AND state = 'completed' AND closed_event = '' AND created_at >= %(since)s
         GROUP BY 1
         UNION ALL
        SELECT (created_at AT TIME ZONE 'UTC')::date, state, count(*) FROM transfers_transfer
         WHERE created_at >= %(since)s AND (state <> 'completed' OR closed_event <> '')
         GROUP BY 1, 2
       ) AS found
 GROUP BY day, state ORDER BY day, state
"""  # noqa: S608 - constants


def days(*, since: date) -> list[Day]:
    """Return the transfers of each day from `since` on, by the state in which they are now."""
    with connection.cursor() as cursor:
        cursor.execute(_DAYS, {"since": since})
        return [Day(row[0], row[1], int(row[2])) for row in cursor.fetchall()]


def latest_transfers(*, wallet_id: UUID, limit: int) -> list[Transfer]:
    """Return the newest transfers out of or into a wallet, with the names of both sides."""
    sides = [
        Transfer.objects.filter(**{side: wallet_id}).order_by("-number").values("number")[:limit]
        for side in ("source_id", "destination_id")
    ]
    return list(
        Transfer.objects.filter(Q(number__in=sides[0]) | Q(number__in=sides[1]))
        .select_related("source", "destination")
        .defer("source__password", "destination__password")
        .order_by("-number")[:limit]
    )


class Stage(NamedTuple):
    """One place in the life of a token: number 0 is its issue."""

    number: int
    at: datetime
    source_id: UUID | None
    source: str
    destination_id: UUID
    destination: str
    transfer_id: UUID | None
    transfer_number: int | None


# A token that moved more often shows its issue and its last moves.
STAGES_SHOWN: Final = 200


def provenance(*, token_id: UUID) -> list[Stage]:
    """Return the history of a token from its issue to its holder; of a very long one, the first and the last stages."""
    with connection.cursor() as cursor:
        cursor.execute(
            "SELECT movement.number, movement.processed_at, movement.source_id, coalesce(source.name, ''),"
            "       movement.destination_id, coalesce(destination.name, '?'), transfer.id, movement.transfer_number"
            "  FROM (SELECT * FROM transfers_movement WHERE token_id = %(token)s"
            "         ORDER BY number DESC LIMIT %(limit)s) AS movement"
            "  LEFT JOIN wallets_wallet AS source ON source.id = movement.source_id"
            "  LEFT JOIN wallets_wallet AS destination ON destination.id = movement.destination_id"
            "  LEFT JOIN transfers_transfer AS transfer ON transfer.number = movement.transfer_number"
            " ORDER BY movement.number",
            {"token": token_id, "limit": STAGES_SHOWN},
        )
        return [Stage(*row) for row in cursor.fetchall()]


# What the log of operators' acts calls tokens that were issued in one statement.
ISSUE: Final = "issue"


def issue_of(token: Token) -> str:
    """Return what tokens have in common that were issued in one statement: the wallet that got them, and the time."""
    first = Movement.objects.filter(token=token, number=0).values_list("destination_id", flat=True).first()
    return f"{first} {token.created_at.isoformat()}"


def tokens_in(*, transfer: Transfer, limit: int) -> list[UUID]:
    """Return the first ids of the tokens that a transfer moved, or reserves."""
    if transfer.state == TransferState.COMPLETED:
        moved = Movement.objects.filter(transfer=transfer).order_by("pk")
        return list(moved.values_list("token_id", flat=True)[:limit])
    reserved = Token.objects.filter(transfer_pending_id=transfer.pk).order_by("arrival")
    return list(reserved.values_list("pk", flat=True)[:limit])


# An open transfer that is older is shown to operators as one that waits too long.
LONG: Final = timedelta(days=1)


def stale(transfers: QuerySet[Transfer]) -> QuerySet[Transfer]:
    """Narrow transfers to the open ones that nobody decided on for a day."""
    return transfers.filter(state__in=OPEN, created_at__lt=Now() - LONG)


def tokens_as_asked(transfer: Transfer) -> str:
    """Say how the tokens were asked for."""
    return "listed one by one" if "tokens" in transfer.parameters else "any, as a bundle"


class Station(NamedTuple):
    """One state on the way of a transfer: what happened, when and by whom; not `is_reached` if it may still come."""

    state: str
    words: str
    at: datetime | None
    who: str
    is_reached: bool


def strip(transfer: Transfer, *, acts: Sequence[OperatorAction] = ()) -> list[Station]:
    """
    Return the states that a transfer went through, and for an open one the end that is hoped for. One statement.

    `acts` are what operators did to it: one that cancelled it is named, and not the wallet in whose name that was.
    """
    closer = ""
    if transfer.closed_by_id is not None:
        closer = Wallet.objects.filter(pk=transfer.closed_by_id).values_list("name", flat=True).first() or "?"
    asker = transfer.originator.name
    stations = []
    began = transfer.state if transfer.state in OPEN else transfer.closed_from
    if began == TransferState.REQUESTED:
        stations.append(
            Station(began, f"{asker} asked {transfer.source.name} for tokens", transfer.created_at, asker, True)
        )
    elif began == TransferState.PENDING:
        words = f"{asker} offered tokens to {transfer.destination.name}; they are reserved"
        stations.append(Station(began, words, transfer.created_at, asker, True))
    if transfer.state in OPEN:
        decider = transfer.source.name if transfer.state == TransferState.REQUESTED else transfer.destination.name
        stations.append(Station(TransferState.COMPLETED, f"waits for {decider}", None, "", False))
        return stations
    verbs = {
        TransferEvent.ACCEPT: "accepted",
        TransferEvent.FULFILL: "fulfilled",
        TransferEvent.DECLINE: "declined",
        TransferEvent.DELETE: "withdrawn",
        TransferEvent.EXPIRE: "given up by the system",
    }
    if not transfer.closed_event:
        words = "completed at once, because the actor controls both sides or a trust lets it send without asking"
        stations.append(Station(transfer.state, words, transfer.closed_at, asker, True))
    else:
        words = verbs[TransferEvent(transfer.closed_event)] + (f" by {closer}" if closer else "")
        cancelling = next((act for act in acts if act.verb == OperatorVerb.CANCELLED_TRANSFER), None)
        if cancelling is not None:
            words = f"cancelled by operator {cancelling.staff.get_username()}, in the name of {closer}"
            words += f": {cancelling.reason}" if cancelling.reason else ""
        who = cancelling.staff.get_username() if cancelling is not None else closer or "the system"
        stations.append(Station(transfer.state, words, transfer.closed_at, who, True))
    return stations


class Possibility(NamedTuple):
    """One event, whether it may happen to a transfer now, and who decides, or why it may not."""

    event: str
    is_possible: bool
    why: str


def allowed_events(transfer: Transfer) -> list[Possibility]:
    """Return for each thing that may be done to a transfer whether it can be done now, and by whom or why not."""
    names = {Side.SOURCE: transfer.source.name, Side.DESTINATION: transfer.destination.name}
    found = []
    for event in TransferEvent:
        if (TransferState(transfer.state), event) not in TRANSITIONS:
            ended = f"it is {transfer.state}" + ("" if transfer.state in OPEN else ", and that is final")
            found.append(Possibility(event.value, False, f"not possible: {ended}"))
            continue
        side = DECIDES.get((TransferState(transfer.state), event))
        if side is None:
            found.append(Possibility(event.value, True, "by the system alone, when nobody decides"))
        else:
            found.append(Possibility(event.value, True, f"by {names[side]}, or by a wallet that manages it"))
    return found
