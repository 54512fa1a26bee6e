"""What the tests of transfers look at: all that a refused call must leave as it was, and who holds what."""

from typing import Any
from uuid import UUID

from django.db import connection, transaction

from transfers import audit
from transfers.models import Movement, Transfer
from wallets.models import Token, Wallet


def books() -> dict[str, Any]:
    """Return every row that the ledger writes."""
    return {
        "tokens": sorted(Token.objects.values_list("id", "wallet_id", "transfer_pending_id", "moves", "updated_at")),
        "transfers": sorted(Transfer.objects.values_list("id", "state", "closed_at", "moved_count")),
        "movements": sorted(Movement.objects.values_list("id", "token_id", "number")),
    }


def held_by(wallet: Wallet) -> list[UUID]:
    """Return the tokens in the wallet in the order of their ids."""
    return sorted(Token.objects.filter(wallet=wallet).values_list("id", flat=True))


def reserved_by(transfer_id: str) -> list[UUID]:
    """Return the tokens that the transfer reserves in the order of their ids."""
    return sorted(Token.objects.filter(transfer_pending_id=transfer_id).values_list("id", flat=True))


def let_expire(transfer_id: UUID | str) -> None:
    """Put the expiry of a transfer into the past, where no operation can put it."""
    with transaction.atomic(), connection.cursor() as cursor:
        cursor.execute("SET LOCAL session_replication_role = replica")
        cursor.execute(
            "UPDATE transfers_transfer SET expires_at = now() - interval '1 second' WHERE id = %s", [transfer_id]
        )
        assert cursor.rowcount == 1


def let_link_expire(link_id: UUID | str) -> None:
    """Put the expiry of a claim link into the past, where no operation can put it."""
    with transaction.atomic(), connection.cursor() as cursor:
        cursor.execute("SET LOCAL session_replication_role = replica")
        cursor.execute(
            "UPDATE transfers_actiontoken SET expires_at = clock_timestamp() - interval '1 second' WHERE id = %s",
            [link_id],
        )
        assert cursor.rowcount == 1


def assert_sound() -> None:
    """Let the audit look for anything lost or doubled."""
    assert audit.audit_findings() == [], audit.audit_findings()
