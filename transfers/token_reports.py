"""
Reports of tokens for operators: by wallet, by manager with the wallets that it manages now, by month.

They read `WalletDay` alone: whole days (UTC), up to the checkpoint of `transfers.counters`, which is seconds old. A
page by name reads the days of its wallets. Any other page reads those of all wallets, and costs as much as the whole
report.
"""

from collections.abc import Iterator, Mapping
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


# By what a report can be sorted.
ORDERS: Final[Mapping[str, str]] = {
    "name": "wallet.name_key",
    "held": "coalesce(total.held, 0) DESC, wallet.name_key",
    "received": "coalesce(total.received, 0) DESC, wallet.name_key",
    "sent": "coalesce(total.sent, 0) DESC, wallet.name_key",
    "issued": "coalesce(total.issued, 0) DESC, wallet.name_key",
}
_AT_ONCE: Final = 2000


def _statement(*, by_manager: bool, order: str) -> str:
    if by_manager:
        return load("transfers", "report_by_manager", order=ORDERS[order])
    return load("transfers", "report_by_wallet", order=ORDERS[order])


def _arguments(period: Period, *, limit: int | None, offset: int) -> dict[str, Any]:
    return {"start": period.start, "end": period.end, "limit": limit, "offset": offset}


def totals(
    period: Period, *, by_manager: bool = False, order: str = "name", limit: int, offset: int = 0
) -> list[WalletTotal]:
    """Return a page of the report. `order` is a key of `ORDERS`."""
    is_by_name = order == "name" and not by_manager
    statement = load("transfers", "report_by_name") if is_by_name else _statement(by_manager=by_manager, order=order)
    with connection.cursor() as cursor:
        cursor.execute(statement, _arguments(period, limit=limit, offset=offset))
        return [WalletTotal(*row) for row in cursor.fetchall()]


def all_totals(period: Period, *, by_manager: bool = False, order: str = "name") -> Iterator[WalletTotal]:
    """Yield the whole report, read from the server in pieces."""
    statement = _statement(by_manager=by_manager, order=order)
    with connection.chunked_cursor() as cursor:
        cursor.execute(statement, _arguments(period, limit=None, offset=0))
        while rows := cursor.fetchmany(_AT_ONCE):
            yield from (WalletTotal(*row) for row in rows)


def months(period: Period) -> list[Month]:
    """Return the months of a period, from the first in which there was a token until now."""
    with connection.cursor() as cursor:
        cursor.execute(load("transfers", "report_by_month"), {"start": period.start, "end": period.end})
        return [Month(*row) for row in cursor.fetchall()]
