"""
SQL for requests with a restricted key: what the key's maker controls, within the wallets of the key.

`narrowed` is an execute wrapper around the statements of such a request. In place of the view `trusts_power`, which all
statements ask who manages which wallet, they get one without the wallets that the key does not reach; and where the
actor itself counts as controlled, it does only if the key reaches it. Statements of other requests stay as they are,
and so do their plans.

`transfers.list_counts` keeps counts of all that a wallet sees: queries that use them ask `restrictions.current`.
"""

import re
from collections.abc import Callable, Mapping
from functools import lru_cache
from typing import Any, Final
from uuid import UUID

from wallets import restrictions

_POWERS: Final = re.compile(r"\btrusts_power\b(?P<alias> AS \w+)?")
_REACHED: Final = """(SELECT * FROM trusts_power AS reached
  WHERE reached.power <> 'manage' OR reached.holder_id <> %(restricted_maker)s::uuid
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
    "source_id = actor_id OR held.over_source": "source_id = %(restricted_own)s::uuid OR held.over_source",
    "destination_id = actor_id OR held.over_destination": (
        "destination_id = %(restricted_own)s::uuid OR held.over_destination"
    ),
}
_NO_WALLET: Final = UUID(int=0)


def narrowed(execute: Callable[..., Any], sql: str, params: Any, many: bool, context: Any) -> Any:
    """Execute a statement within the restriction of the current request, if it has one."""
    restriction = restrictions.current()
    if restriction is None:
        return execute(sql, params, many, context)
    text = _narrowed(sql)
    if text is None:
        return execute(sql, params, many, context)
    # Positional parameters could not stand beside named ones.
    assert isinstance(params, Mapping), sql
    added = {
        "restricted_maker": restriction.maker_id,
        "restricted_wallets": list(restriction.wallet_ids),
        "restricted_own": restriction.maker_id if restriction.maker_id in restriction.wallet_ids else _NO_WALLET,
    }
    return execute(text, {**params, **added}, many, context)


@lru_cache(maxsize=512)
def _narrowed(sql: str) -> str | None:
    """Return the text that narrows a statement, or None if there is nothing to narrow."""
    text = sql
    for own, reached in _OWN.items():
        text = text.replace(own, reached)
    text = _POWERS.sub(lambda found: _REACHED + (found["alias"] or " AS trusts_power"), text)
    return None if text == sql else text
