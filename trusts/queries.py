"""Reading trusts: who controls which wallet, and who may send to whom."""

from collections.abc import Callable, Iterator, Sequence
from datetime import datetime
from typing import Final, NamedTuple
from uuid import UUID

from django.db import connection

from trusts import errors
from trusts.states import TrustType
from wallets import errors as wallet_errors
from wallets import queries as wallet_queries
from wallets import restrictions
from wallets.audit import FINDINGS_PER_CHECK, Finding
from wallets.models import Wallet
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
    """Return whether the actor is the wallet or manages it, as far as the credential of the request reaches."""
    if not restrictions.reaches(actor_id=actor_id, wallet_id=wallet_id):
        return False
    return actor_id == wallet_id or _has_power(TrustType.MANAGE, holder_id=actor_id, subject_id=wallet_id)


def wallet_controlled_by(*, actor_id: UUID, wallet_id: UUID) -> Wallet:
    """
    Return a wallet that the actor controls.

    :raises wallets.errors.WalletNotFound: no such wallet
    :raises wallets.errors.WalletNotControlled: the actor does not control it
    """
    wallet = wallet_queries.wallet_by_id(wallet_id)
    if not controls(actor_id=actor_id, wallet_id=wallet.pk):
        raise wallet_errors.WalletNotControlled("Have no permission to access this wallet")
    return wallet


def controls_until_commit(*, actor_id: UUID, wallet_id: UUID) -> bool:
    """As `controls`, but locks the trust that gives the control (`FOR SHARE`) until commit."""
    if not restrictions.reaches(actor_id=actor_id, wallet_id=wallet_id):
        return False
    return actor_id == wallet_id or _has_power(
        TrustType.MANAGE, holder_id=actor_id, subject_id=wallet_id, until_commit=True
    )


def have_one_manager(one: UUID, other: UUID) -> bool:
    """Return whether a wallet manages both."""
    with connection.cursor() as cursor:
        cursor.execute(
            "SELECT EXISTS (SELECT FROM trusts_power AS one JOIN trusts_power AS other USING (holder_id, power)"
            " WHERE power = 'manage' AND one.subject_id = %(one)s AND other.subject_id = %(other)s)",
            {"one": one, "other": other},
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
ROW: Final = f"""
SELECT {_FIELDS}
  FROM trusts_trust trust
  JOIN wallets_wallet originator ON originator.id = trust.originator_id
  JOIN wallets_wallet actor ON actor.id = trust.actor_id
  JOIN wallets_wallet target ON target.id = trust.target_id
"""  # noqa: S608 - constants


def trust_row(*, trust_id: UUID) -> TrustRow:
    """
    Return one trust, without authorisation.

    :raises trusts.errors.TrustNotFound: no such trust
    """
    with connection.cursor() as cursor:
        cursor.execute(f"{ROW} WHERE trust.id = %s", [trust_id])
        row = cursor.fetchone()
    if row is None:
        raise errors.TrustNotFound(trust_id)
    return TrustRow(*row)


def trust_rows(*, trust_ids: Sequence[UUID]) -> list[TrustRow]:
    """Return these trusts in the order of creation, without authorisation; unknown ones are left out."""
    with connection.cursor() as cursor:
        cursor.execute(f"{ROW} WHERE trust.id = ANY(%s) ORDER BY trust.number", [list(trust_ids)])
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


IS_VISIBLE: Final = controls_one_of("trust.actor_id", "trust.target_id", "trust.originator_id")


def trust_visible_to(*, actor_id: UUID, trust_id: UUID) -> TrustRow:
    """
    Return one trust of which the actor controls a party.

    :raises trusts.errors.TrustNotFound: no such trust
    :raises trusts.errors.TrustNotReadable: the actor controls no party of it
    """
    with connection.cursor() as cursor:
        cursor.execute(f"{ROW} WHERE trust.id = %(id)s AND {IS_VISIBLE}", {"id": trust_id, "actor": actor_id})
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


# Rules that only triggers enforce; the models' constraints are checked by `wallets.audit`. Each is a file of
# `trusts/sql/audit`, which returns one text per finding.
_CHECKS: Final = {
    "a trust is in the state of its last change": "last_changes",
    "a trust begins with the request of its originator": "first_changes",
    "a trust gives what its kind gives": "powers",
    "a trust has the columns of the managed wallet": "managed_wallets",
}


def audit_findings() -> Iterator[Finding]:
    """Yield trusts that break a rule."""
    for check, file in _CHECKS.items():
        with connection.cursor() as cursor:
            cursor.execute(load("trusts", f"audit/{file}") + " LIMIT %(limit)s", {"limit": FINDINGS_PER_CHECK})
            for (detail,) in cursor.fetchall():
                yield Finding(check, detail)
