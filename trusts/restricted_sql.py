"""
SQL for requests with a restricted key: it limits what the key's owner controls to the wallets of the key.

`narrowed` is an execute wrapper around the statements of such a request. It replaces the view `trusts_power`, from
which all statements read who manages which wallet, by a subquery without the wallets that the key may not be used for.
Where a statement counts the actor's own wallet as controlled, the key must be for that wallet too. Statements of other
requests are not changed, and neither are their plans.

Statements are recognised by their text. One that uses the actor in a form that is not known here is refused
(`NotNarrowed`), because it could include wallets that the key may not be used for.

`transfers.list_counts` keeps counts of all that a wallet sees: queries do not use them for a restricted key.
"""

import re
from collections.abc import Callable, Mapping
from functools import lru_cache
from typing import Any, Final
from uuid import UUID

from wallets import restrictions

_POWERS: Final = re.compile(r"\btrusts_power\b(?P<alias> AS \w+)?", re.IGNORECASE)
_REACHED: Final = """(SELECT * FROM trusts_power AS reached
  WHERE reached.power <> 'manage' OR reached.holder_id <> %(restricted_owner)s::uuid
     OR reached.subject_id = ANY (%(restricted_wallets)s::uuid[]))"""
# What makes a wallet the actor's own, and the same if the key reaches that wallet.
_OWN: Final = {
    # trusts.queries.controls_one_of
    "(%(actor)s::uuid = ANY (": "(%(restricted_own)s::uuid = ANY (",
    # trusts.queries.CONTROLLED
    "SELECT id FROM me WHERE id IS NOT NULL": "SELECT id FROM me WHERE id = %(restricted_own)s::uuid",
    # trusts/sql/parts/controlled_in_order.sql and controlled_count.sql
    "FROM wallets_wallet JOIN me USING (id) WHERE": (
        "FROM wallets_wallet JOIN me USING (id) WHERE id = %(restricted_own)s::uuid AND"
    ),
    # transfers/sql/parts/decision.sql
    "source_id = actor_id OR held.powers": "source_id = %(restricted_own)s::uuid OR held.powers",
    "destination_id = actor_id OR held.powers": "destination_id = %(restricted_own)s::uuid OR held.powers",
}
# Where else the actor may stand, with white space collapsed, in a text that is narrowed.
_KNOWN: Final = (
    # Its own rows, if the key reaches it.
    "me AS MATERIALIZED (SELECT %(actor)s::uuid AS id)",
    "SELECT id FROM me WHERE id = %(restricted_own)s::uuid",
    "FROM wallets_wallet JOIN me USING (id) WHERE id = %(restricted_own)s::uuid AND",
    # What it manages.
    "AS trusts_power WHERE holder_id = (SELECT id FROM me) AND power = 'manage'",
    "AS trusts_power WHERE holder_id = (SELECT %(actor)s::uuid) AND power = 'manage'",
    "AS power WHERE power.power = 'manage' AND power.holder_id = %(actor)s::uuid AND power.subject_id = ANY (",
    # The parties of a transfer that is decided on.
    "me.id AS actor_id, source.id AS source_id",
    "AS needs_approval FROM me LEFT JOIN wallets_wallet AS source ON",
    "SELECT given.line, %(actor)s::uuid AS actor_id, %(source)s::uuid AS source_id",
    "(1, 'manage', parties.actor_id, parties.source_id)",
    "(2, 'manage', parties.actor_id, parties.destination_id)",
    # Whose idempotency key it is.
    "pg_try_advisory_xact_lock(hashtextextended(me.id::text || %(key)s, 0))",
    "FROM wallets_idempotentanswer WHERE wallet_id = me.id AND key = %(key)s::varchar AND",
    "SELECT %(actor)s::uuid, %(key)s::varchar, %(fingerprint)s::bytea",
    # Who acted, after the right was decided.
    "nextval('wallets_event_number'), %(actor)s::uuid,",
    "SELECT %(id)s::uuid, number, %(actor)s::uuid, source_id",
    "CASE WHEN approval_of IS NOT NULL THEN %(actor)s::uuid END",
    "approval_asked_by_id = %(actor)s::uuid, approval_asked_with",
    ", closed_by_id = %(actor)s::uuid",
    "SELECT link.id, link.digest, %(actor)s::uuid, guard.source_id",
    "SELECT written.number, %(actor)s::uuid, written.source_id",
    # The wallet that was asked for, whose control the caller has checked.
    "SELECT %(wallet)s::uuid AS id FROM me WHERE id IS NOT NULL",
    "WHERE token.wallet_id = (SELECT id FROM me) AND",
    # Orders.
    "ORDER BY id <> %(actor)s::uuid",
    "OR trust.target_id <> (SELECT id FROM me) AND trust.target_id IN (SELECT id FROM managed)",
)
# The actor by its parameter, and by the names that the statements give it.
_ACTOR: Final = re.compile(r"%\(actor\)s|\bme\b|\bparties\.actor_id\b")
_DECIDED: Final = re.compile(r"(?<!\.)\bactor_id\b")
_NO_WALLET: Final = UUID(int=0)


class NotNarrowed(Exception):
    """A statement in which the actor stands in a way that is not known to be narrowed. It was not executed."""


def narrowed(execute: Callable[..., Any], sql: str, params: Any, many: bool, context: Any) -> Any:
    """
    Execute a statement within the restriction of the current request, if it has one.

    :raises NotNarrowed: the form of the statement is not known
    """
    restriction = restrictions.current()
    if restriction is None:
        return execute(sql, params, many, context)
    text = _narrowed(sql)
    if text is None:
        return execute(sql, params, many, context)
    # Positional parameters could not stand beside named ones.
    assert isinstance(params, Mapping), sql
    added = {
        "restricted_owner": restriction.owner_id,
        "restricted_wallets": list(restriction.wallet_ids),
        "restricted_own": restriction.owner_id if restriction.owner_id in restriction.wallet_ids else _NO_WALLET,
    }
    return execute(text, {**params, **added}, many, context)


@lru_cache(maxsize=512)
def _narrowed(sql: str) -> str | None:
    """Return the text that narrows a statement, or None if there is nothing to narrow."""
    text = sql
    for own, reached in _OWN.items():
        text = text.replace(own, reached)
    text = _POWERS.sub(lambda found: _REACHED + (found["alias"] or " AS trusts_power"), text)
    _refuse_unknown(text)
    return None if text == sql else text


def _refuse_unknown(text: str) -> None:
    rest = " ".join(text.split())
    # In other statements it is a column of trusts and tasks.
    actor = _DECIDED if " AS actor_id" in rest else None
    for known in _KNOWN:
        rest = rest.replace(known, "")
    if _ACTOR.search(rest) or (actor is not None and actor.search(rest)):
        raise NotNarrowed(text)
