"""What claim links are made of, and what the ledger made."""

from datetime import datetime, timedelta
from typing import NamedTuple
from uuid import UUID


class LinkTerms(NamedTuple):
    """
    What all claim links of one request have in common.

    Each link expires at `expires_at`, or after the `lifetime` if that is None.
    """

    originator_id: UUID
    sender_id: UUID
    recipient_email: str
    email_must_match: bool
    message: str
    expires_at: datetime | None
    lifetime: timedelta


class OfferedLink(NamedTuple):
    """A claim link that was created, without its code."""

    id: UUID
    created_at: datetime
    expires_at: datetime
    token_count: int
