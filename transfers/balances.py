"""
What a wallet held at a moment, and its statement: what moved its tokens between two moments.

A movement has the time of its transfer's completion, or of its issue, to the microsecond. A balance at a moment is that
of all movements before it, a statement has those from its beginning on and before its end, so

    opening balance + lines = closing balance = balance at the end.

Neither reads the whole history. `WalletDay` keeps for each wallet and day (UTC) what moved, up to the checkpoint of
`transfers.counters`, whose `roll_up` alone writes it, behind the transfers; the audit compares it with them. A balance
is the sum of the days before, what is in no day yet, and the lines of the day itself, up to the moment. Those of
transfers that completed at once are found by wallet and number, since a day knows its lowest and highest number, and
others by wallet and time. `ListSpan` (`transfers.list_counts`) tells from which number on all are later than the
moment.

An operation takes its time before it commits. A balance at a time in the last seconds can therefore still change, until
all that was in progress at that time has ended; so can one before an import of older history.
"""

from collections.abc import Sequence
from datetime import datetime
from functools import cache
from typing import Any, Final, NamedTuple
from uuid import UUID

from django.db import connection

from transfers.list_counts import SPAN
from wallets.sql_files import load


class Balance(NamedTuple):
    """How many tokens a wallet held, counting all that moved before `at`."""

    at: datetime
    tokens: int


class Line(NamedTuple):
    """
    One movement of a wallet's tokens and the balance after it.

    `kind` is one of `KINDS`; `tokens` is negative if they left. `transfer_id`, `other_id` and `other` are those of the
    transfer and of the other wallet, None for an issue.
    """

    at: datetime
    kind: int
    number: int
    tokens: int
    balance: int
    transfer_id: UUID | None
    other_id: UUID | None
    other: str | None

    @property
    def word(self) -> str:
        return KINDS[self.kind]

    @property
    def position(self) -> tuple[datetime, int, int]:
        return self.at, self.kind, self.number


# What the SQL numbers, in the order of lines of the same microsecond.
KINDS: Final = ("issued", "received", "sent")


class Statement(NamedTuple):
    """A page of the lines from `start` on and before `end`, and the balances at both."""

    start: datetime
    end: datetime
    opening: int
    closing: int
    lines: list[Line]


def lines_sql(start: str, end: str) -> str:
    """Return the SQL of the lines from `start` on and before `end`, which are SQL."""
    return load(
        "transfers",
        "parts/wallet_lines",
        start=start,
        end=end,
        last_number=load("transfers", "parts/last_number_before", end=end, span=str(SPAN)),
        in_day=load("transfers", "parts/lines_in_day"),
        since=load("transfers", "parts/lines_since"),
    )


def balance_sql(moment: str) -> str:
    """Return the SQL of the balance before a moment, which is SQL."""
    midnight = f"date_trunc('day', {moment}, 'UTC')"
    return load(
        "transfers",
        "parts/balance_at",
        moment=moment,
        midnight=midnight,
        since=load("transfers", "parts/lines_since"),
        lines=lines_sql(midnight, moment),
    )


@cache
def _balance_statement() -> str:
    return load("transfers", "balance_at", balance=balance_sql("asked.at"))


@cache
def _page_statement() -> str:
    return load(
        "transfers",
        "statement",
        opening=balance_sql("ended.start"),
        closing=balance_sql("ended.until"),
        page_balance=balance_sql("ended.page_start"),
        lines=lines_sql("period.page_start", "period.page_end"),
    )


def balance(*, wallet_id: UUID, at: datetime | None = None) -> Balance:
    """Return what a wallet that exists held before `at`, or now if that is None or later, without authorisation."""
    with connection.cursor() as cursor:
        cursor.execute(_balance_statement(), {"wallet": wallet_id, "at": at})
        return Balance(*cursor.fetchone())


def statement(
    *,
    wallet_id: UUID,
    start: datetime | None = None,
    end: datetime | None = None,
    limit: int,
    offset: int = 0,
    after: Sequence[Any] | None = None,
) -> Statement:
    """
    Return up to `limit` lines of a wallet that exists, without authorisation, the oldest first.

    Without `start` it begins with the first line, without `end`, or with one that is later, it ends now. `after` is the
    position of the last line of the page before.
    """
    after_at, after_kind, after_number = after or (None, None, None)
    arguments: dict[str, Any] = {
        "wallet": wallet_id,
        "start": start,
        "end": end,
        "fetch": limit,
        "offset": offset,
        "after_at": after_at,
        "after_kind": after_kind,
        "after_number": after_number,
    }
    with connection.cursor() as cursor:
        cursor.execute(_page_statement(), arguments)
        rows = cursor.fetchall()
    start, end, opening, closing = rows[0][:4]
    return Statement(start, end, opening, closing, [Line(*row[4:]) for row in rows if row[4] is not None])
