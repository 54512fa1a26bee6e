"""Lists of trusts, restricted to the reader."""

from collections.abc import Mapping, Sequence
from enum import StrEnum
from functools import cache
from typing import Any, Final, NamedTuple
from uuid import UUID

import orjson
from django.db import connection

from trusts.queries import (
    CONTROLLED,
    CONTROLLED_BY_ACTOR,
    IS_VISIBLE,
    LAST_NUMBER,
    LISTED,
    ROW,
    TrustRow,
    numbers_by_party,
    wallet_controlled_by,
)
from wallets import names as wallet_names
from wallets.sql_files import load

# Each trust of `page`, looked up by its id (OFFSET 0): the planner may expect many, and would read all trusts.
_SHOWN: Final = f"LEFT JOIN LATERAL ({ROW} WHERE trust.id = page.id OFFSET 0) AS shown ON true"


class TrustFilters(NamedTuple):
    """Which trusts a list has; None for any."""

    state: str | None = None
    type: str | None = None
    request_type: str | None = None

    @property
    def given(self) -> dict[str, str]:
        return {name: value for name, value in self._asdict().items() if value is not None}


_ANY: Final = TrustFilters()
# How many of its wallets are counted for a manager. Half as many trusts of all wallets are read before its own are
# looked up by wallet, which costs about as much for each wallet as reading one of these.
_COUNTED: Final = 20_000


def trusts_visible_to(
    *, actor_id: UUID, limit: int, offset: int = 0, after: int = 0, filters: TrustFilters = _ANY
) -> list[TrustRow]:
    """
    Return a page of the trusts in which the actor, or a wallet that it manages, is a party, in the order of creation.

    For a manager of many wallets the next trusts of all wallets are read first: most of them may be its own.
    """
    statement = load(
        "trusts",
        "parts/near_trusts",
        shown=_SHOWN,
        filters="".join(f" AND trust.{name} = (SELECT %({name})s::text)" for name in filters.given),
        is_visible=IS_VISIBLE,
        last=f"{LAST_NUMBER}",
    )
    arguments: dict[str, Any] = {"actor": actor_id, "after": after, "counted": _COUNTED, "limit": limit}
    with connection.cursor() as cursor:
        cursor.execute(statement, arguments | {"offset": offset} | filters.given)
        rows = cursor.fetchall()
    if rows[0][0]:
        return [TrustRow(*row[1:]) for row in rows if row[1] is not None]
    return _trusts_by_party(
        CONTROLLED_BY_ACTOR, {"actor": actor_id}, limit=limit, offset=offset, after=after, filters=filters
    )


def _trusts_by_party(
    wallets: str, given: Mapping[str, Any], *, limit: int, offset: int, after: int, filters: TrustFilters
) -> list[TrustRow]:
    """Return a page of the trusts in which one of the wallets, as `numbers_by_party` takes them, is a party."""
    numbers = numbers_by_party(
        table="trusts_trust",
        branches=(
            ("actor_id", ""),
            ("target_id", ""),
            ("originator_id", "AND originator_id <> actor_id"),
        ),
        condition="AND number > 0" + "".join(f" AND {name} = (SELECT %({name})s::text)" for name in filters.given),
        skips=True,
        wallets=wallets,
    )
    arguments = {"after": after, "most": offset + limit, "offset": offset}
    with connection.cursor() as cursor:
        cursor.execute(
            f"{ROW} WHERE trust.number IN ({numbers}) ORDER BY trust.number", arguments | filters.given | dict(given)
        )
        return [TrustRow(*row) for row in cursor.fetchall()]


def trusts_of_wallet_page(
    *,
    actor_id: UUID,
    wallet_id: UUID,
    limit: int,
    offset: int = 0,
    after: int = 0,
    filters: TrustFilters = _ANY,
) -> list[TrustRow]:
    """
    Return a page of the trusts of one wallet that the actor controls, in the order of creation.

    :raises wallets.errors.WalletNotFound: no such wallet
    :raises wallets.errors.WalletNotControlled: the actor does not control it
    """
    wallet = wallet_controlled_by(actor_id=actor_id, wallet_id=wallet_id)
    return _trusts_by_party(LISTED, {"wallets": [wallet.pk]}, limit=limit, offset=offset, after=after, filters=filters)


class TrustKey(StrEnum):
    """By what a list of trusts is sorted; the id decides between equal ones."""

    # The order of creation, which no others share.
    NUMBER = "number"
    CREATED_AT = "created_at"
    UPDATED_AT = "updated_at"
    STATE = "state"


class TrustSelection(NamedTuple):
    """
    Which of the caller's trusts a list has, and in which order.

    `is_of_wallet`: those of one wallet (the parameter `wallet`) and not of all that the caller controls. `filters` are
    the columns that parameters of their names narrow. `has_search`: the parameter `search` is a part of the name of
    one of the parties. `excludes_managed` omits trusts between wallets that the caller controls.
    `begins_with_requests`: those that wait for the answer of the wallet (`wallet`), or of one that the caller manages,
    come first.
    """

    key: TrustKey = TrustKey.NUMBER
    is_descending: bool = False
    is_of_wallet: bool = False
    filters: tuple[str, ...] = ()
    has_search: bool = False
    excludes_managed: bool = False
    begins_with_requests: bool = False


# The columns of a position: their expressions for a trust, and their types. The states are in the order of the public
# service.
_TRUST_COLUMNS: Final = {
    "number": ("trust.number", "bigint"),
    "created_at": ("trust.created_at", "timestamptz"),
    "updated_at": ("trust.updated_at", "timestamptz"),
    "state": (
        "array_position(ARRAY['requested', 'cancelled_by_originator', 'cancelled_by_target', 'trusted'], "
        "trust.state::text)",
        "integer",
    ),
    "id": ("trust.id", "uuid"),
}
_IS_ASKED: Final = """(trust.state = 'requested'
            AND (trust.target_id = (SELECT %(wallet)s::uuid)
                 OR trust.target_id <> (SELECT id FROM me) AND trust.target_id IN (SELECT id FROM managed)))"""
_IS_AMONG_MANAGED: Final = """(trust.actor_id IN (SELECT id FROM managed)
            AND trust.target_id IN (SELECT id FROM managed))"""
_NAMES_MATCH: Final = """(strpos(originator.name_key, (SELECT %(search)s::text)) > 0
            OR strpos(actor.name_key, (SELECT %(search)s::text)) > 0
            OR strpos(target.name_key, (SELECT %(search)s::text)) > 0)"""
_NAMES: Final = """JOIN wallets_wallet AS originator ON originator.id = trust.originator_id
      JOIN wallets_wallet AS actor ON actor.id = trust.actor_id
      JOIN wallets_wallet AS target ON target.id = trust.target_id"""


@cache
def _trusts_matching(selection: TrustSelection, *, is_first: bool) -> str:
    key = selection.key.value
    # Sorted in one direction throughout, so that positions can be compared as rows.
    asked = _IS_ASKED if selection.is_descending else f"NOT {_IS_ASKED}"
    columns = {"asked": (asked, "boolean")} if selection.begins_with_requests else {}
    columns |= {each: _TRUST_COLUMNS[each] for each in ((key,) if key == "number" else (key, "id"))}
    direction = " DESC" if selection.is_descending else ""
    values = ", ".join(f"%(after_{name})s::{type_}" for name, (_, type_) in columns.items())
    matches = [_NAMES_MATCH] if selection.has_search else []
    matches += [f"NOT {_IS_AMONG_MANAGED}"] if selection.excludes_managed else []
    written = {name: expression for name, (expression, _) in columns.items() if name not in {"number", "id"}}
    return load(
        "trusts",
        "parts/trusts_matching",
        parties="SELECT %(wallet)s::uuid AS id" if selection.is_of_wallet else CONTROLLED,
        controlled=CONTROLLED,
        condition="".join(f" AND trust.{name} = (SELECT %({name})s::text)" for name in selection.filters),
        columns=", ".join(f"{expression} AS {name}" for name, expression in written.items()) or "true",
        names=_NAMES if selection.has_search else "",
        matches=" AND ".join(matches) or "true",
        behind="true" if is_first else f"({', '.join(columns)}) {'<' if selection.is_descending else '>'} ({values})",
        order=", ".join(name + direction for name in columns),
        page_order=", ".join(f"page.{name}{direction}" for name in columns),
        # Times as text keep their microseconds, and other values are JSON.
        position=f"jsonb_build_array({', '.join(f'page.{name}' for name in columns)})",
        shown=_SHOWN,
    )


class TrustPage(NamedTuple):
    """A page of a list of trusts, the position of each, and how many the whole list has."""

    rows: list[tuple[TrustRow, list[Any]]]
    total: int


def selected_trusts_page(
    selection: TrustSelection,
    *,
    actor_id: UUID,
    wallet_id: UUID | None = None,
    limit: int,
    offset: int = 0,
    after: Sequence[Any] | None = None,
    filters: Mapping[str, str] | None = None,
    search: str = "",
) -> TrustPage:
    """
    Return a page of the trusts in which the actor, or a wallet that it manages, is a party, in any order.

    `after` is the position of the last row of the page before. The cost grows with the number of these trusts: all
    are read, sorted and counted by one statement. `wallet_id` is the wallet to which the selection refers.

    :raises wallets.errors.WalletNotFound: no such wallet
    :raises wallets.errors.WalletNotControlled: the actor does not control it
    """
    if wallet_id is not None:
        wallet_controlled_by(actor_id=actor_id, wallet_id=wallet_id)
    key = selection.key.value
    columns = [*(["asked"] if selection.begins_with_requests else []), *([key] if key == "number" else [key, "id"])]
    arguments = {
        "actor": actor_id,
        "wallet": wallet_id,
        "fetch": limit,
        "offset": offset,
        # A text of nothing but invisible characters has an empty key, and no name has one of them.
        "search": wallet_names.name_key(search) or search,
        **(filters or {}),
    }
    if after is not None:
        arguments |= {f"after_{name}": value for name, value in zip(columns, after, strict=True)}
    with connection.cursor() as cursor:
        cursor.execute(_trusts_matching(selection, is_first=after is None), arguments)
        found = cursor.fetchall()
    return TrustPage([(TrustRow(*row[2:]), orjson.loads(row[1])) for row in found if row[2] is not None], found[0][0])
