"""Reading claim links, for those who control their sender and for those who have their code."""

from collections.abc import Sequence
from datetime import datetime
from typing import Any, Final, NamedTuple
from uuid import UUID

from django.db import connection

from transfers import errors
from transfers.states import ActionTokenState
from trusts.queries import CONTROLLED_BY_ACTOR, controls_one_of
from wallets import queries as wallet_queries
from wallets.sql_files import load

# An active link whose time has passed counts as expired, also before the sweep has closed it.
_STATE: Final = (
    "CASE WHEN link.state = 'active' AND link.expires_at <= clock_timestamp() THEN 'expired' ELSE link.state END"
)
_FIELDS: Final = (
    "link.id, link.sender_id, sender.name, link.recipient_email, link.email_must_match, link.message,"
    f" link.token_count, {_STATE}, link.expires_at, link.created_at, link.closed_at"
)
_SENDER: Final = "JOIN wallets_wallet AS sender ON sender.id = link.sender_id"
_ROWS: Final = f"SELECT {_FIELDS} FROM transfers_actiontoken AS link {_SENDER}"  # noqa: S608 - constants
# An array, and below a state in a subquery: otherwise an index of all active links may be read.
_OF_CONTROLLED: Final = f"link.sender_id = ANY (ARRAY({CONTROLLED_BY_ACTOR}))"


class ActionTokenRow(NamedTuple):
    """A claim link as answers show it. Neither its code nor its tokens are shown."""

    id: UUID
    sender_id: UUID
    sender: str
    recipient_email: str
    email_must_match: bool
    message: str
    token_count: int
    state: str
    expires_at: datetime
    created_at: datetime
    closed_at: datetime | None

    @property
    def redeemed_at(self) -> datetime | None:
        """When it was claimed; None if it was not."""
        return self.closed_at if self.state == ActionTokenState.REDEEMED else None


class ActionTokenPage(NamedTuple):
    """Some links, and how many the list has."""

    rows: Sequence[ActionTokenRow]
    total: int


def action_tokens_visible_to(*, actor_id: UUID, limit: int, offset: int, state: str | None = None) -> ActionTokenPage:
    """
    Return a page of the links of the wallets that the actor controls, the newest first, by their stored state.
    """
    arguments: dict[str, Any] = {"actor": actor_id, "limit": limit, "offset": offset, "state": state}
    where = f"WHERE {_OF_CONTROLLED}" + (" AND link.state = (SELECT %(state)s::text)" if state is not None else "")
    with connection.cursor() as cursor:
        cursor.execute(f"SELECT count(*) FROM transfers_actiontoken AS link {where}", arguments)  # noqa: S608
        total = cursor.fetchone()[0]
        cursor.execute(
            # All are read and sorted, as they are counted (OFFSET 0): the newest of all wallets may be of others.
            f"SELECT {_FIELDS} FROM (SELECT * FROM transfers_actiontoken AS link {where} OFFSET 0) AS link"  # noqa: S608
            f" {_SENDER} ORDER BY link.created_at DESC, link.id LIMIT %(limit)s OFFSET %(offset)s",
            arguments,
        )
        return ActionTokenPage([ActionTokenRow(*row) for row in cursor.fetchall()], total)


def action_token_visible_to(*, actor_id: UUID, action_token_id: UUID) -> ActionTokenRow:
    """
    Return one link whose sender the actor controls.

    :raises transfers.errors.ActionTokenNotFound: no such link, or the actor does not control its sender
    """
    is_visible = controls_one_of("link.sender_id")
    with connection.cursor() as cursor:
        cursor.execute(f"{_ROWS} WHERE link.id = %(id)s AND {is_visible}", {"id": action_token_id, "actor": actor_id})
        row = cursor.fetchone()
    if row is None:
        raise errors.ActionTokenNotFound
    return ActionTokenRow(*row)


def described(*, code: str) -> ActionTokenRow:
    """
    Return the link with this code, in any state.

    :raises transfers.errors.ActionTokenNotVerified: no such link
    """
    with connection.cursor() as cursor:
        cursor.execute(f"{_ROWS} WHERE link.digest = %s", [wallet_queries.digest(code)])
        row = cursor.fetchone()
    if row is None:
        raise errors.ActionTokenNotVerified
    return ActionTokenRow(*row)


def links_among(reservations: Sequence[UUID]) -> set[UUID]:
    """Return those of these ids, by which tokens are reserved, that are of claim links; the others are of transfers."""
    with connection.cursor() as cursor:
        cursor.execute("SELECT id FROM transfers_actiontoken WHERE id = ANY (%s)", [list(reservations)])
        return {link_id for (link_id,) in cursor.fetchall()}


def links_due(*, links: int, tokens: int) -> list[UUID]:
    """
    Return active links that have expired, the earliest first: as many at most, with as many reserved tokens at most.

    One link is returned whatever its tokens.
    """
    with connection.cursor() as cursor:
        cursor.execute(load("transfers", "due_links"), {"links": links, "tokens": tokens})
        return [link_id for (link_id,) in cursor.fetchall()]
