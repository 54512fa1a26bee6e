"""
Reports of tokens for operators: by wallet, by manager with the wallets that it manages now, by month.

They read `WalletDay` alone: whole days (UTC), up to the checkpoint of `transfers.counters`, which is seconds old. Pages
are in the order of names and read the days of their wallets: any other order would read those of all wallets.
"""

from collections.abc import Iterator
from datetime import date
from typing import Any, Final, NamedTuple
from uuid import UUID

from django.db import connection

from wallets.sql_files import load


class Period(NamedTuple):
    """Whole days: from `start` on and before `end`."""

    start: date
    end: date


class WalletTotal(NamedTuple):
    """
    What a wallet held at the end of a period, and received, sent and was issued in it.

    `managed` is the number of wallets that are added to that of their manager; None in a report by wallet.
    """

    id: UUID
    name: str
    held: int
    received: int
    sent: int
    issued: int
    managed: int | None = None


class Month(NamedTuple):
    """
    What there was at the end of a month, and what moved between wallets and was issued in it.

    `lines` are those of all statements: a transfer has two, an issue one.
    """

    month: date
    held: int
    moved: int
    issued: int
    lines: int


_AT_ONCE: Final = 2000


def _statement(*, by_manager: bool) -> str:
    return load("transfers", "report_by_manager" if by_manager else "report_by_wallet")


def _arguments(period: Period, *, limit: int | None, after: UUID | None) -> dict[str, Any]:
    return {"start": period.start, "end": period.end, "limit": limit, "after": after}


def totals(period: Period, *, by_manager: bool = False, limit: int, after: UUID | None = None) -> list[WalletTotal]:
    """Return a page of the report, by name: the wallets after that with the id `after`."""
    with connection.cursor() as cursor:
        cursor.execute(_statement(by_manager=by_manager), _arguments(period, limit=limit, after=after))
        return [WalletTotal(*row) for row in cursor.fetchall()]


def all_totals(period: Period, *, by_manager: bool = False) -> Iterator[WalletTotal]:
    """Yield the whole report, read from the server in pieces."""
    with connection.chunked_cursor() as cursor:
        cursor.execute(_statement(by_manager=by_manager), _arguments(period, limit=None, after=None))
        while rows := cursor.fetchmany(_AT_ONCE):
            yield from (WalletTotal(*row) for row in rows)


def months(period: Period) -> list[Month]:
    """Return the months of a period, from the first in which there was a token until now."""
    with connection.cursor() as cursor:
        cursor.execute(load("transfers", "report_by_month"), {"start": period.start, "end": period.end})
        return [Month(*row) for row in cursor.fetchall()]
