"""The SQL of lists of the wallets that a caller controls."""

from collections.abc import Sequence
from datetime import datetime
from enum import StrEnum
from functools import cache
from typing import Any, Final, NamedTuple

from wallets import names as wallet_names
from wallets.sql_files import load


class WalletOrder(StrEnum):
    """By what a list of controlled wallets is sorted; the id decides between equal ones."""

    # Oldest first, the caller's own last: the order of the public service's first version.
    OWN_LAST = "own last"
    CREATED_AT = "created_at"
    NAME = "name"


class WalletScope(StrEnum):
    """Which of the controlled wallets a list has."""

    ALL = "all"
    # Those that the caller manages by its own request, and that cannot log in.
    CHILD = "child"
    # Those that it manages and that can log in, and those that yielded to it.
    MANAGED = "managed"


class WalletSelection(NamedTuple):
    """
    Which controlled wallets a list has, and in which order.

    `has_name`, `has_start` and `has_end` say whether the parameters `name`, `start` and `end` narrow it: see
    `wallet_arguments`.
    """

    order: WalletOrder = WalletOrder.OWN_LAST
    is_descending: bool = False
    scope: WalletScope = WalletScope.ALL
    has_name: bool = False
    has_start: bool = False
    has_end: bool = False

    @property
    def position(self) -> tuple[str, ...]:
        """The columns by which it is sorted, which are the position of a row."""
        match self.order:
            case WalletOrder.OWN_LAST:
                return ("is_own", "created_at", "id")
            case _:
                return (self.order.value, "id")

    def sorted_by(self, table: str = "") -> str:
        """Return the SQL of `ORDER BY`."""
        direction = " DESC" if self.is_descending else ""
        return ", ".join(f"{table}{column}{direction}" for column in self.position)

    @property
    def is_all(self) -> bool:
        """Whether it has every controlled wallet, so that their number is kept."""
        return self.scope is WalletScope.ALL and not (self.has_name or self.has_start or self.has_end)

    def _dates(self, created_at: str) -> list[str]:
        start = [f"{created_at} >= (SELECT %(start)s::timestamptz)"] if self.has_start else []
        end = [f"{created_at} < (SELECT %(end)s::timestamptz + interval '1 day')"] if self.has_end else []
        return start + end

    def _of_managed(self) -> list[str]:
        """Return the SQL conditions on a trust that gives control."""
        conditions = self._dates("managed_created_at")
        if self.has_name:
            contains = [f"strpos(managed_name_key, (SELECT %({each})s::text)) > 0" for each in ("name", "with_plus")]
            conditions.append(f"({' OR '.join(contains)})")
        match self.scope:
            case WalletScope.CHILD:
                conditions.append("request_type = 'manage' AND NOT managed_has_password")
            case WalletScope.MANAGED:
                conditions.append("(request_type = 'yield' OR request_type = 'manage' AND managed_has_password)")
        return conditions

    def _of_own(self) -> list[str]:
        """Return the SQL conditions on the caller's own wallet, which is there whatever its name: as in the service."""
        return self._dates("created_at") if self.scope is WalletScope.ALL else ["false"]

    def _behind(self, *columns: str) -> str:
        """Return the SQL condition that a row, with these columns of the position, is behind `after`."""
        sign = "<" if self.is_descending else ">"
        values = ", ".join(_POSITION[column] for column in self.position)
        return f"({', '.join(columns)}) {sign} ({values})"


_POSITION: Final = {
    "is_own": "%(own)s::boolean",
    "created_at": "%(created_at)s::timestamptz",
    "name": "%(wallet_name)s::text",
    "id": "%(id)s::uuid",
}
_ALL_OLDEST_FIRST: Final = WalletSelection()


def wallet_arguments(
    selection: WalletSelection,
    *,
    name: str = "",
    start: datetime | None = None,
    end: datetime | None = None,
    after: Sequence[Any] | None = None,
) -> dict[str, Any]:
    """
    Return the parameters of a list of controlled wallets, beside those of `ME`, `fetch` and `offset`.

    `name` is a part of the names, without regard to case. `start` and `end` are the first and the last day (UTC), and
    count as a whole. `after` is the position of the last row of the page before.
    """
    # A text of nothing but invisible characters has an empty key, and no name has one of them.
    key = wallet_names.name_key(name) or name
    days = (each and each.replace(hour=0, minute=0, second=0, microsecond=0) for each in (start, end))
    arguments = {"name": key, "with_plus": key.replace(" ", "+")} if selection.has_name else {}
    named = {"is_own": "own", "name": "wallet_name"}
    if after is not None:
        arguments |= {named.get(each, each): value for each, value in zip(selection.position, after, strict=True)}
    return arguments | {key: day for key, day in zip(("start", "end"), days, strict=True) if day is not None}


@cache
def controlled_in_order(*, is_first: bool, selection: WalletSelection = _ALL_OLDEST_FIRST) -> str:
    """
    Return the SQL of a page of the wallets that the caller controls: `id`, the column of the order, `is_own`.

    An index has the order and the columns of the filters: the cost grows with the page, and with the index entries of
    the managed wallets that the filters leave out before it ends. Parameters beside those of `ME` and
    `wallet_arguments`: `fetch` (maximum number of rows), `offset` (rows to skip); unless it is the first page, those of
    `after`. A wallet that two trusts let it manage appears once.
    """
    key = "name" if selection.order is WalletOrder.NAME else "created_at"
    managed, own = selection._of_managed(), selection._of_own()
    if not is_first and selection.order is WalletOrder.OWN_LAST:
        # Conditions of which an index serves the second.
        behind = f"({_POSITION['created_at']}, {_POSITION['id']})"
        managed += [f"NOT {_POSITION['is_own']}", f"(managed_created_at, subject_id) > {behind}"]
        own.append(f"(NOT {_POSITION['is_own']} OR (created_at, id) > {behind})")
    elif not is_first:
        managed.append(selection._behind(f"managed_{key}", "subject_id"))
        own.append(selection._behind(key, "id"))
    return load(
        "trusts",
        "parts/controlled_in_order",
        key=key,
        managed="".join(f" AND {each}" for each in managed),
        own=" AND ".join(own) or "true",
        direction="DESC" if selection.is_descending else "ASC",
        order=selection.sorted_by(),
    )


@cache
def count_controlled(selection: WalletSelection) -> str:
    """Return the SQL of the number of wallets of a selection. Its cost grows with the number of managed wallets."""
    return load(
        "trusts",
        "parts/controlled_count",
        managed="".join(f" AND {each}" for each in selection._of_managed()),
        own=" AND ".join(selection._of_own()) or "true",
    )
