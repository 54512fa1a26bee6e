"""
Reports of the ledger for operators. The number of statements does not grow with tokens and transfers.

Nothing here counts tokens or movements. Transfers that completed at once are read from tallies (`transfers.counters`);
others are rare, and have partial indexes.
"""

from collections.abc import Mapping, Sequence
from datetime import date, datetime, timedelta
from hashlib import md5
from typing import Any, Final, NamedTuple
from uuid import UUID

from django.db import connection
from django.db.models import QuerySet
from django.db.models.functions import MD5, Now

from transfers.models import Issue, Movement, Transfer, TransferTerms
from transfers.states import OPEN, ApprovalOf, Side, TransferEvent, TransferState, deciding_sides
from wallets.models import OperatorAction, Token, Wallet
from wallets.sql_files import load
from wallets.states import OperatorVerb

# The upper limits of the age groups of open transfers; the last group is older.
AGE_LIMITS: Final = (timedelta(hours=1), timedelta(days=1), timedelta(days=3), timedelta(days=7))


class Waiting(NamedTuple):
    """Open transfers of one state: count, tokens asked, creation of the oldest, count by age group."""

    transfers: int
    tokens: int
    oldest_at: datetime | None
    by_age: tuple[int, ...]


class LedgerSummary(NamedTuple):
    """The numbers of the ledger that must agree, and its open transfers."""

    issued: int
    held: int
    # Tokens that are marked as reserved, and tokens that pending transfers and claim links count as reserved.
    reserved_tokens: int
    reserved_by_transfers: int
    pending: Waiting
    requested: Waiting
    has_transfers: bool

    @property
    def is_sound(self) -> bool:
        return self.issued == self.held and self.reserved_tokens == self.reserved_by_transfers


_AGE_GROUPS: Final = ", ".join(
    f"count(*) FILTER (WHERE state = '{state.value}' AND age = {group})"
    for state in (TransferState.PENDING, TransferState.REQUESTED)
    for group in range(len(AGE_LIMITS) + 1)
)


def ledger_summary() -> LedgerSummary:
    """Return the summary, in one statement."""
    with connection.cursor() as cursor:
        cursor.execute(load("transfers", "ledger_summary", groups=_AGE_GROUPS), {"limits": list(AGE_LIMITS)})
        row = cursor.fetchone()
    groups = len(AGE_LIMITS) + 1
    pending = Waiting(row[4], int(row[5]), row[6], tuple(row[11 : 11 + groups]))
    requested = Waiting(row[7], int(row[8]), row[9], tuple(row[11 + groups :]))
    return LedgerSummary(int(row[0]), int(row[1]), int(row[2]), int(row[3]), pending, requested, row[10])


class Day(NamedTuple):
    """The number of transfers created on one day (UTC) that are in one state now."""

    day: date
    state: str
    transfers: int


def days(*, since: date) -> list[Day]:
    """Return the transfers of each day from `since` on, by the state in which they are now."""
    with connection.cursor() as cursor:
        cursor.execute(load("transfers", "days"), {"since": since})
        return [Day(row[0], row[1], int(row[2])) for row in cursor.fetchall()]


def latest_transfers(*, wallet_id: UUID, limit: int) -> list[Transfer]:
    """Return the newest transfers out of or into a wallet, with the names of both sides and of who asked."""
    sides = [
        Transfer.objects.filter(**{side: wallet_id}).order_by("-number").values("number")[:limit]
        for side in ("source_id", "destination_id")
    ]
    return list(
        # With two conditions and OR, PostgreSQL would read all transfers.
        Transfer.objects.filter(number__in=sides[0].union(sides[1], all=True))
        .select_related("source", "destination", "originator")
        .defer("source__password", "destination__password", "originator__password")
        .order_by("-number")[:limit]
    )


class Stage(NamedTuple):
    """One movement of a token: number 0 is its issue."""

    number: int
    at: datetime
    source_id: UUID | None
    source: str
    destination_id: UUID
    destination: str
    transfer_id: UUID | None
    transfer_number: int | None


STAGES_SHOWN: Final = 200


def provenance(*, token_id: UUID) -> list[Stage]:
    """Return the history of a token in order, without what is detached; of a very long one the last 200 movements."""
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


# The kind of object in the log of operators' actions: tokens that were issued by one statement.
ISSUE: Final = "issue"


def issue_of(token: Token) -> str:
    """Return the id that tokens issued by one statement share: the wallet that received them, and the time."""
    first = Movement.objects.filter(token=token, number=0).values_list("destination_id", flat=True).first()
    if first is None:
        # The movement is in a partition that is detached.
        first = Issue.objects.filter(issued_at=token.created_at).values_list("wallet_id", flat=True).first()
    return f"{first} {token.created_at.isoformat()}"


def tokens_in(*, transfer: Transfer, limit: int) -> list[UUID]:
    """Return the first ids of the tokens that a transfer moved, or reserves; not those whose movements are detached."""
    if transfer.state == TransferState.COMPLETED:
        moved = Movement.objects.filter(transfer=transfer).order_by("pk")
        return list(moved.values_list("token_id", flat=True)[:limit])
    reserved = Token.objects.filter(transfer_pending_id=transfer.pk).order_by("arrival")
    return list(reserved.values_list("pk", flat=True)[:limit])


# Older open transfers are shown to operators as stale.
LONG: Final = timedelta(days=1)


def stale(transfers: QuerySet[Transfer]) -> QuerySet[Transfer]:
    """Narrow transfers to those that have been open for more than a day."""
    return transfers.filter(state__in=OPEN, created_at__lt=Now() - LONG)


def tokens_as_asked(transfer: Transfer) -> str:
    """Return in words how the tokens were requested."""
    return "listed one by one" if "tokens" in transfer.parameters else "any, as a bundle"


def terms_of(transfer: Transfer) -> TransferTerms | None:
    """Return the reference and metadata of a transfer, or None without a statement if it has neither."""
    return TransferTerms.objects.filter(transfer=transfer).first() if transfer.has_terms else None


class Station(NamedTuple):
    """One state of a transfer: what happened, when and by whom; `is_reached` is false for an expected state."""

    state: str
    words: str
    at: datetime | None
    who: str
    is_reached: bool


def was_closed_before_import(transfer: Transfer) -> bool:
    """
    Return whether the transfer was cancelled, or failed, in the service that it was imported from.

    That service does not say how, and `closed_at` is the time of its creation.
    """
    return transfer.state not in (*OPEN, TransferState.COMPLETED) and not transfer.closed_event


def timeline(transfer: Transfer, *, acts: Sequence[OperatorAction] = ()) -> list[Station]:
    """
    Return the states of a transfer in order, plus the expected next state if it is open. One statement.

    `acts` are the operators' actions on it: an operator who cancelled it is named instead of the wallet.
    """
    concerned = (transfer.closed_by_id, transfer.approval_asked_by_id, transfer.approved_by_id)
    deciders = {wallet_id for wallet_id in concerned if wallet_id is not None}
    names = dict(Wallet.objects.filter(pk__in=deciders).values_list("pk", "name")) if deciders else {}
    closer = names.get(transfer.closed_by_id, "?") if transfer.closed_by_id is not None else ""
    asker = transfer.originator.name
    stations = []
    began = transfer.state if transfer.state in OPEN else transfer.closed_from
    if transfer.approval_of == ApprovalOf.FULFILL:
        began = TransferState.REQUESTED
    if began == TransferState.REQUESTED:
        stations.append(
            Station(began, f"{asker} asked {transfer.source.name} for tokens", transfer.created_at, asker, True)
        )
    elif began == TransferState.PENDING:
        words = f"{asker} offered tokens to {transfer.destination.name}"
        words += "; they are reserved" if transfer.state in OPEN else ""
        stations.append(Station(began, words, transfer.created_at, asker, True))
    stations += _approval(transfer, names)
    if transfer.awaits_approval:
        return stations
    if transfer.state in OPEN:
        decider = transfer.source.name if transfer.state == TransferState.REQUESTED else transfer.destination.name
        stations.append(Station(TransferState.COMPLETED, f"waits for {decider}", None, "", False))
        return stations
    verbs = {
        TransferEvent.ACCEPT: "accepted",
        TransferEvent.FULFILL: "fulfilled",
        TransferEvent.DECLINE: "declined",
        TransferEvent.DELETE: "withdrawn",
        TransferEvent.EXPIRE: "expired",
        TransferEvent.APPROVE: "approved",
        TransferEvent.REFUSE: "refused",
    }
    if was_closed_before_import(transfer):
        words = f"{transfer.state} before it was imported"
        stations.append(Station(transfer.state, words, None, "", True))
    elif not transfer.closed_event:
        words = "completed at once, because the actor controls both sides or a trust lets it send without asking"
        stations.append(Station(transfer.state, words, transfer.closed_at, asker, True))
    else:
        words = verbs[TransferEvent(transfer.closed_event)] + (f" by {closer}" if closer else "")
        cancelling = next((act for act in acts if act.verb == OperatorVerb.CANCELLED_TRANSFER), None)
        if cancelling is not None:
            words = f"cancelled by operator {cancelling.staff.get_username()}, in the name of {closer}"
            words += f": {cancelling.reason}" if cancelling.reason else ""
        # An imported transfer does not name the wallet that accepted it.
        unnamed = "the system" if transfer.closed_event == TransferEvent.EXPIRE else ""
        who = cancelling.staff.get_username() if cancelling is not None else closer or unnamed
        stations.append(Station(transfer.state, words, transfer.closed_at, who, True))
    return stations


def _approval(transfer: Transfer, names: Mapping[Any, str]) -> list[Station]:
    """Return the states of a transfer between its beginning and the approval that its source demands."""
    stations = []
    if transfer.approval_of == ApprovalOf.FULFILL:
        who = names.get(transfer.approval_asked_by_id, "?")
        stations.append(Station(TransferState.PENDING, f"{who} fulfilled it", None, who, True))
    if transfer.awaits_approval:
        words = f"waits for the approval of {transfer.source.name}, with another login, or of its manager"
        stations.append(Station(TransferState.PENDING, words, None, "", False))
    elif transfer.approved_at is not None and transfer.closed_event != TransferEvent.APPROVE:
        who = names.get(transfer.approved_by_id, "?")
        stations.append(Station(TransferState.PENDING, f"approved by {who}", transfer.approved_at, who, True))
    return stations


class Possibility(NamedTuple):
    """An event, whether a transfer allows it now, and who may cause it, or why not."""

    event: str
    is_possible: bool
    why: str


_OF_APPROVALS: Final = (TransferEvent.APPROVE, TransferEvent.REFUSE)


def _why_not(transfer: Transfer) -> str:
    if transfer.awaits_approval:
        return "its sender must approve it first"
    return f"it is {transfer.state}" + ("" if transfer.state in OPEN else ", and that is final")


def allowed_events(transfer: Transfer) -> list[Possibility]:
    """Return for each event whether the transfer allows it now, and who may cause it, or why not."""
    names = {Side.SOURCE: transfer.source.name, Side.DESTINATION: transfer.destination.name}
    found = []
    sides = deciding_sides(TransferState(transfer.state), awaits_approval=transfer.awaits_approval)
    for event in TransferEvent:
        if event in _OF_APPROVALS and transfer.approval_of is None:
            continue
        side = sides.get(event)
        if side is not None:
            login = ", with another login than the one that asked" if event is TransferEvent.APPROVE else ""
            found.append(Possibility(event.value, True, f"by {names[side]}, or by a wallet that manages it{login}"))
        elif event is not TransferEvent.EXPIRE or transfer.state not in OPEN:
            found.append(Possibility(event.value, False, f"not possible: {_why_not(transfer)}"))
        elif transfer.expires_at is None:
            found.append(Possibility(event.value, False, "not possible: it names no time at which it expires"))
        else:
            found.append(Possibility(event.value, True, "by the system only, if no side decides before it expires"))
    return found


def transfers_with_reference(reference: str) -> QuerySet[TransferTerms, Any]:
    """Return the numbers of the transfers with exactly this reference, in no order."""
    # Repeats the expression and the predicate of the index. It has the digest, so that no list of a wallet is read by
    # an index of what all others wrote.
    digest = md5(reference.encode(), usedforsecurity=False).hexdigest()
    rows = TransferTerms.objects.annotate(digest=MD5("reference")).filter(digest=digest)
    rows = rows.filter(reference=reference).exclude(reference="")
    return rows.values_list("transfer_id", flat=True)
