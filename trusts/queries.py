"""Reading trusts: who controls which wallet, who may send to whom, and lists restricted to the reader."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from datetime import datetime
from enum import StrEnum
from functools import cache
from typing import Any, Final, NamedTuple
from uuid import UUID

import orjson
from django.db import connection

from trusts import errors
from trusts.states import TrustType
from wallets import errors as wallet_errors
from wallets import names as wallet_names
from wallets import queries as wallet_queries
from wallets.audit import FINDINGS_PER_CHECK, Finding
from wallets.sql_files import load

LAST_NUMBER: Final = 2**63 - 1

_POWER: Final = """
SELECT EXISTS (
    SELECT FROM trusts_power AS power
     WHERE power.holder_id = %(holder)s AND power.subject_id = %(subject)s AND power.power = %(power)s {lock})
"""


def _has_power(power: TrustType, *, holder_id: UUID, subject_id: UUID, until_commit: bool = False) -> bool:
    """Whether a trust in force gives the power. `until_commit` locks that trust (FOR SHARE), so that it cannot end."""
    with connection.cursor() as cursor:
        cursor.execute(
            _POWER.format(lock="FOR SHARE" if until_commit else ""),
            {"holder": holder_id, "subject": subject_id, "power": power.value},
        )
        return bool(cursor.fetchone()[0])


def controls(*, actor_id: UUID, wallet_id: UUID) -> bool:
    """Return whether the actor is the wallet or manages it."""
    return actor_id == wallet_id or _has_power(TrustType.MANAGE, holder_id=actor_id, subject_id=wallet_id)


def controls_until_commit(*, actor_id: UUID, wallet_id: UUID) -> bool:
    """As `controls`, but locks the trust that gives the control (`FOR SHARE`) until commit."""
    return actor_id == wallet_id or _has_power(
        TrustType.MANAGE, holder_id=actor_id, subject_id=wallet_id, until_commit=True
    )


def have_one_manager(one: UUID, other: UUID) -> bool:
    """Return whether a wallet manages both."""
    with connection.cursor() as cursor:
        cursor.execute(
            "SELECT EXISTS (SELECT FROM trusts_power AS one JOIN trusts_power AS other USING (holder_id, power)"
            " WHERE power = 'manage' AND one.subject_id = %s AND other.subject_id = %s)",
            [one, other],
        )
        return bool(cursor.fetchone()[0])


def controlled_by(actor_id: UUID) -> Callable[[UUID], bool]:
    """Return a predicate `wallet_id -> bool`: whether this actor controls the wallet."""
    return lambda wallet_id: controls(actor_id=actor_id, wallet_id=wallet_id)


def controls_one_of(*columns: str) -> str:
    """
    Return the SQL condition that the wallet `actor` is named in one of the columns, or manages one that is.

    It probes the few wallets of the row, not all that the actor manages, which may be thousands.
    """
    wallets = f"ARRAY[{', '.join(columns)}]"
    return f"""(%(actor)s::uuid = ANY ({wallets})
 OR EXISTS (SELECT FROM trusts_power AS power WHERE power.power = 'manage'
               AND power.holder_id = %(actor)s::uuid AND power.subject_id = ANY ({wallets})))"""


# The `id`s of the wallet in `me` and of those that it manages; no rows if that is NULL.
CONTROLLED: Final = """
SELECT id FROM me WHERE id IS NOT NULL
 UNION SELECT subject_id FROM trusts_power
        WHERE holder_id = (SELECT id FROM me) AND power = 'manage' AND managed_created_at IS NOT NULL
"""


# The same as a whole statement.
CONTROLLED_BY_ACTOR: Final = f"WITH {wallet_queries.ME} {CONTROLLED}"


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
    def is_indexed(self) -> bool:
        """Whether an index has the managed wallets in this order, so that a page reads only its own rows."""
        return self.order is not WalletOrder.NAME and self.scope is WalletScope.ALL and not self.has_name

    def _dates(self, created_at: str) -> list[str]:
        start = [f"{created_at} >= (SELECT %(start)s::timestamptz)"] if self.has_start else []
        end = [f"{created_at} < (SELECT %(end)s::timestamptz + interval '1 day')"] if self.has_end else []
        return start + end

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
    Return the SQL of a page of the wallets that the caller controls: `id`, `created_at`, `is_own`.

    The selection is one that `is_indexed`: the cost grows with the page, not with the number of managed wallets.
    Parameters beside those of `ME` and `wallet_arguments`: `fetch` (maximum number of rows), `offset` (rows to skip);
    unless it is the first page, those of `after`. A wallet that two trusts let it manage appears once.
    """
    managed, own = selection._dates("managed_created_at"), selection._dates("created_at")
    if not is_first and selection.order is WalletOrder.OWN_LAST:
        # Conditions of which an index serves the second.
        behind = f"({_POSITION['created_at']}, {_POSITION['id']})"
        managed += [f"NOT {_POSITION['is_own']}", f"(managed_created_at, subject_id) > {behind}"]
        own.append(f"(NOT {_POSITION['is_own']} OR (created_at, id) > {behind})")
    elif not is_first:
        managed.append(selection._behind("managed_created_at", "subject_id"))
        own.append(selection._behind("created_at", "id"))
    return load(
        "trusts",
        "parts/controlled_in_order",
        managed="".join(f" AND {each}" for each in managed),
        own=" AND ".join(own) or "true",
        direction="DESC" if selection.is_descending else "ASC",
        order=selection.sorted_by(),
    )


@cache
def count_controlled(selection: WalletSelection) -> str:
    """Return the SQL of the number of wallets of a selection that `is_indexed`. Its cost grows with the number."""
    return load(
        "trusts",
        "parts/controlled_count",
        managed="".join(f" AND {each}" for each in selection._dates("managed_created_at")),
        own=" AND ".join(selection._dates("created_at")) or "true",
    )


@cache
def controlled_matching(*, is_first: bool, selection: WalletSelection) -> tuple[str, str]:
    """
    Return the SQL of a page of any selection, as `controlled_in_order`, and before it of common table expressions.

    Of these, `visible` has all wallets of the selection. The cost grows with the number of managed wallets.
    """
    dates = selection._dates("wallet.created_at")
    contains = [f"strpos(wallet.name_key, (SELECT %({each})s::text)) > 0" for each in ("name", "with_plus")]
    managed = [*dates, *([f"({' OR '.join(contains)})"] if selection.has_name else [])]
    match selection.scope:
        case WalletScope.CHILD:
            managed.append("managed.was_requested AND wallet.password = ''")
        case WalletScope.MANAGED:
            managed.append("(managed.has_yielded OR managed.was_requested AND wallet.password <> '')")
    is_narrow = selection.scope is not WalletScope.ALL
    visible = load(
        "trusts",
        "parts/controlled_matching",
        kinds=_KINDS if is_narrow else "NULL",
        trusts="JOIN trusts_trust AS trust ON trust.id = power.trust_id" if is_narrow else "",
        managed=" AND ".join(managed) or "true",
        # The caller's own wallet is there whatever its name, as in the public service.
        own="false" if is_narrow else " AND ".join(dates) or "true",
    )
    behind = "" if is_first else f"WHERE {selection._behind(*selection.position)}"
    rows = (
        f"SELECT id, created_at, is_own FROM visible {behind} ORDER BY {selection.sorted_by()}"  # noqa: S608 - constants
        " LIMIT (SELECT %(fetch)s::bigint) OFFSET (SELECT %(offset)s::bigint)"
    )
    return visible, rows


_KINDS: Final = """bool_or(trust.request_type = 'manage') AS was_requested,
           bool_or(trust.request_type = 'yield') AS has_yielded"""


def controlled_wallet_ids(*, actor_id: UUID) -> list[UUID]:
    """Return the actor and the wallets that it manages, the actor first."""
    with connection.cursor() as cursor:
        cursor.execute(
            f"SELECT id FROM ({CONTROLLED_BY_ACTOR}) AS wallet ORDER BY id <> %(actor)s::uuid",  # noqa: S608 - constants
            {"actor": actor_id},
        )
        return [row[0] for row in cursor.fetchall()]


def may_push_until_commit(*, sender_id: UUID, receiver_id: UUID) -> bool:
    """
    Return whether a trust in force lets the sender push to the receiver without acceptance.

    That trust is locked (`FOR SHARE`) until commit.
    """
    return _has_power(TrustType.SEND, holder_id=sender_id, subject_id=receiver_id, until_commit=True)


class TrustRow(NamedTuple):
    """A trust with the names of its wallets, as answers show it."""

    number: int
    id: UUID
    type: str
    request_type: str
    state: str
    created_at: datetime
    updated_at: datetime
    originating_wallet: str
    actor_wallet: str
    target_wallet: str
    actor_wallet_id: UUID
    target_wallet_id: UUID
    originator_wallet_id: UUID


_FIELDS: Final = """trust.number, trust.id, trust.type, trust.request_type, trust.state, trust.created_at,
       trust.updated_at, originator.name, actor.name, target.name, trust.actor_id, trust.target_id,
       trust.originator_id"""
_ROW: Final = f"""
SELECT {_FIELDS}
  FROM trusts_trust trust
  JOIN wallets_wallet originator ON originator.id = trust.originator_id
  JOIN wallets_wallet actor ON actor.id = trust.actor_id
  JOIN wallets_wallet target ON target.id = trust.target_id
"""  # noqa: S608 - constants
# Each trust of `page`, looked up by its id (OFFSET 0): the planner may expect many, and would read all trusts.
_SHOWN: Final = f"LEFT JOIN LATERAL ({_ROW} WHERE trust.id = page.id OFFSET 0) AS shown ON true"


def trust_row(*, trust_id: UUID) -> TrustRow:
    """
    Return one trust, without authorisation.

    :raises trusts.errors.TrustNotFound: no such trust
    """
    with connection.cursor() as cursor:
        cursor.execute(f"{_ROW} WHERE trust.id = %s", [trust_id])
        row = cursor.fetchone()
    if row is None:
        raise errors.TrustNotFound(trust_id)
    return TrustRow(*row)


def trust_rows(*, trust_ids: Sequence[UUID]) -> list[TrustRow]:
    """Return these trusts in the order of creation, without authorisation; unknown ones are left out."""
    with connection.cursor() as cursor:
        cursor.execute(f"{_ROW} WHERE trust.id = ANY(%s) ORDER BY trust.number", [list(trust_ids)])
        return [TrustRow(*row) for row in cursor.fetchall()]


def was_ended_by_operator(*, trust_id: UUID) -> bool:
    """Return whether an operator ever ended the trust, which is final."""
    with connection.cursor() as cursor:
        cursor.execute(
            "SELECT EXISTS (SELECT FROM trusts_trustchange WHERE trust_id = %s AND event = 'end')", [trust_id]
        )
        return bool(cursor.fetchone()[0])


def set_up_by(*, manager_id: UUID, wallet_id: UUID) -> list[UUID]:
    """
    Return the ids of the trusts of a wallet that a manager set up, or by which it controls the wallet; oldest first.

    These are the open ones that it requested, in any name, those that it accepted in the wallet's name, and those
    that give it control of the wallet, or would if it accepted them.
    """
    with connection.cursor() as cursor:
        cursor.execute(load("trusts", "set_up_by"), {"manager": manager_id, "wallet": wallet_id})
        return [row[0] for row in cursor.fetchall()]


# This app may not import transfers, but the event about the end of control is written here, in the transaction that
# ends it, and lists open transfers. So their table is read by SQL.
_OPEN_TRANSFERS_BEGUN_BY: Final = """
SELECT id FROM transfers_transfer
 WHERE (source_id = %(wallet)s OR destination_id = %(wallet)s) AND originator_id = %(manager)s
   AND state <> 'completed' AND state IN ('requested', 'pending')
 ORDER BY number
"""


def open_transfers_begun_by(*, manager_id: UUID, wallet_id: UUID) -> list[UUID]:
    """Return the ids of the open transfers from or to a wallet that the manager created; oldest first."""
    with connection.cursor() as cursor:
        cursor.execute(_OPEN_TRANSFERS_BEGUN_BY, {"manager": manager_id, "wallet": wallet_id})
        return [row[0] for row in cursor.fetchall()]


_IS_VISIBLE: Final = controls_one_of("trust.actor_id", "trust.target_id", "trust.originator_id")


def trust_visible_to(*, actor_id: UUID, trust_id: UUID) -> TrustRow:
    """
    Return one trust of which the actor controls a party.

    :raises trusts.errors.TrustNotFound: no such trust
    :raises trusts.errors.TrustNotReadable: the actor controls no party of it
    """
    with connection.cursor() as cursor:
        cursor.execute(f"{_ROW} WHERE trust.id = %(id)s AND {_IS_VISIBLE}", {"id": trust_id, "actor": actor_id})
        row = cursor.fetchone()
    if row is None:
        trust_row(trust_id=trust_id)
        raise errors.TrustNotReadable
    return TrustRow(*row)


LISTED: Final = "SELECT unnest((SELECT %(wallets)s::uuid[])) AS id"


def numbers_by_party(
    *,
    table: str,
    branches: Sequence[tuple[str, str]],
    condition: str = "",
    skips: bool = False,
    wallets: str = LISTED,
) -> str:
    """
    Return the SQL of a query for the `number`s of rows in which any of many wallets is a party, in ascending order.

    Each branch is the column of the party, which leads an index (column, number), and what else that index may ask for.
    `wallets` is the SQL of their ids: `LISTED`, with the parameter `wallets`, or `CONTROLLED_BY_ACTOR`, with `actor`.
    Parameters of the query beside these: `after`, `most` (how many rows at most), and with `skips` also `offset` (how
    many of these are left out from the front).

    It reads the first row of each wallet and branch, which bounds the page, and then the rows within that bound. The
    cost of a page grows with the wallets but not with the rows before or after it. Parameters are in subqueries so
    that one plan serves all values: planning costs more than the page. Column and number are compared as a pair: for
    one wallet in the order of numbers, the planner would otherwise scan the index of all numbers if its statistics
    say that one wallet has most of the rows.
    """
    heads = " UNION ALL ".join(
        f"(SELECT {index} AS branch, number FROM {table}"  # noqa: S608 - constants
        f" WHERE ({column}, number) > (wallet.id, (SELECT page.after FROM page))"
        f" AND ({column}, number) <= (wallet.id, {LAST_NUMBER}) {only} {condition} ORDER BY {column}, number LIMIT 1)"
        for index, (column, only) in enumerate(branches)
    )
    page = "LIMIT (SELECT page.fetch FROM page)"
    if skips:
        page += " - %(offset)s::bigint OFFSET %(offset)s::bigint"
    reaches = " UNION ALL ".join(
        f"(SELECT number FROM {table} WHERE head.branch = {index} AND ({column}, number) >= (head.id, head.number)"  # noqa: S608 - constants
        f" AND ({column}, number) <= (head.id, (SELECT reach.number FROM reach)) {only} {condition}"
        f" ORDER BY {column}, number LIMIT (SELECT page.fetch FROM page))"
        for index, (column, only) in enumerate(branches)
    )
    return load("trusts", "parts/numbers_by_party", wallets=wallets, heads=heads, reaches=reaches, page=page)


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
        is_visible=_IS_VISIBLE,
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
        condition="AND number > 0" + "".join(f" AND {name} = %({name})s" for name in filters.given),
        skips=True,
        wallets=wallets,
    )
    arguments = {"after": after, "most": offset + limit, "offset": offset}
    with connection.cursor() as cursor:
        cursor.execute(
            f"{_ROW} WHERE trust.number IN ({numbers}) ORDER BY trust.number", arguments | filters.given | dict(given)
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
    wallet = wallet_queries.wallet_by_id(wallet_id)
    if not controls(actor_id=actor_id, wallet_id=wallet.pk):
        raise wallet_errors.WalletNotControlled("Have no permission to access this wallet")
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
        wallet = wallet_queries.wallet_by_id(wallet_id)
        if not controls(actor_id=actor_id, wallet_id=wallet.pk):
            raise wallet_errors.WalletNotControlled("Have no permission to access this wallet")
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


# Rules that only triggers enforce; the models' constraints are checked by `wallets.audit`. Each is a file of
# `trusts/sql/audit`, which returns one text per finding.
_CHECKS: Final = {
    "a trust is in the state of its last change": "last_changes",
    "a trust begins with the request of its originator": "first_changes",
    "a trust gives what its kind gives": "powers",
    "a trust knows when the managed wallet was created": "managed_wallets",
}


def audit_findings() -> Iterator[Finding]:
    """Yield trusts that break a rule."""
    for check, file in _CHECKS.items():
        with connection.cursor() as cursor:
            cursor.execute(load("trusts", f"audit/{file}") + " LIMIT %(limit)s", {"limit": FINDINGS_PER_CHECK})
            for (detail,) in cursor.fetchall():
                yield Finding(check, detail)
