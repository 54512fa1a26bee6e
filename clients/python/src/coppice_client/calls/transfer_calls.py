"""Transfers and claim links."""

from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import Any, Literal

from coppice_client.calls.describing import content, get, given, path_of, write
from coppice_client.exchange import Call, Exchange, Listing, time_text
from coppice_client.exchange import idempotency_key as checked_key
from coppice_client.types import (
    ActionToken,
    ActionTokenDescription,
    ActionTokenPage,
    CreatedActionToken,
    Token,
    Transfer,
    TransferState,
)


def transfers(
    *,
    state: TransferState | None = None,
    wallet: str | None = None,
    reference: str | None = None,
    metadata: Mapping[str, str] | None = None,
    created_since: datetime | None = None,
    awaiting_approval: bool = False,
    page_size: int = 100,
) -> Listing[Transfer]:
    """
    Transfers of the caller and of the wallets that it manages, the oldest first.

    `reference` and `metadata` select those that have exactly this reference, and all of these values;
    `awaiting_approval` those that await the approval of their sender.
    """
    return Listing(
        "/transfers",
        "transfers",
        limit=page_size,
        state=state,
        wallet=wallet,
        reference=reference,
        created_since=created_since,
        awaiting_approval="true" if awaiting_approval else None,
        **{f"metadata[{key}]": value for key, value in (metadata or {}).items()},
    )


def transfer(transfer_id: str) -> Call[Transfer]:
    return get("/transfers", transfer_id)


def transfer_tokens(transfer_id: str, *, page_size: int = 100) -> Listing[Token]:
    """The tokens that a transfer moved, or reserves."""
    return Listing(path_of("/transfers", transfer_id, "/tokens"), "tokens", limit=page_size)


def send(
    tokens: int | Sequence[str],
    *,
    sender: str,
    receiver: str,
    reference: str | None = None,
    unique_reference: bool | None = None,
    metadata: Mapping[str, str] | None = None,
    expires_at: datetime | None = None,
    idempotency_key: str | None = None,
) -> Call[Transfer]:
    """
    Send a number of tokens, or the tokens with these ids.

    `completed`: they are there. `pending`: the receiver has to accept. `requested`: the caller controls the receiver
    alone, and the sender has to fulfill.

    All who see the transfer see its `reference` (up to 255 characters) and `metadata` (up to 20 texts by key). With
    `unique_reference` it is refused if the reference belongs to another transfer that the caller asked for with it. At
    `expires_at` it fails if it is still open.
    """
    what = {"bundle": {"bundle_size": tokens}} if isinstance(tokens, int) else {"tokens": list(tokens)}
    terms = given(
        reference=reference,
        unique_reference=unique_reference,
        metadata=None if metadata is None else dict(metadata),
        expires_at=None if expires_at is None else time_text(expires_at),
    )
    body = {**what, "sender_wallet": sender, "receiver_wallet": receiver, **terms}
    return write("POST", "/transfers", key=idempotency_key, body=body)


def accept(transfer_id: str, *, idempotency_key: str | None = None) -> Call[Transfer]:
    """Accept a pending transfer, as its receiver."""
    return write("POST", "/transfers", transfer_id, "/accept", key=idempotency_key, body={})


def fulfill(
    transfer_id: str, *, tokens: Sequence[str] | None = None, idempotency_key: str | None = None
) -> Call[Transfer]:
    """Fulfill a requested transfer, as its sender: with any tokens, or with the tokens with these ids."""
    body = {"implicit": True} if tokens is None else {"tokens": list(tokens)}
    return write("POST", "/transfers", transfer_id, "/fulfill", key=idempotency_key, body=body)


def approve(transfer_id: str, *, idempotency_key: str | None = None) -> Call[Transfer]:
    """
    Approve a transfer that awaits the approval of its sender, which the caller controls.

    It needs another login than the one that made the transfer.
    """
    return write("POST", "/transfers", transfer_id, "/approve", key=idempotency_key, body={})


def refuse(transfer_id: str, *, idempotency_key: str | None = None) -> Call[Transfer]:
    """Cancel a transfer that awaits the approval of its sender, which the caller controls."""
    return write("POST", "/transfers", transfer_id, "/refuse", key=idempotency_key, body={})


def decline(transfer_id: str, *, idempotency_key: str | None = None) -> Call[Transfer]:
    """Decline an open transfer, as the side that has to answer."""
    return write("POST", "/transfers", transfer_id, "/decline", key=idempotency_key, body={})


def cancel(transfer_id: str, *, idempotency_key: str | None = None) -> Call[Transfer]:
    """Cancel an open transfer, as the side that began it."""
    return write("DELETE", "/transfers", transfer_id, key=idempotency_key)


def claim_links(
    *, state: Literal["active", "redeemed", "cancelled"] | None = None, limit: int = 1000, offset: int = 0
) -> Call[ActionTokenPage]:
    """The claim links of the caller and of the wallets that it manages, the newest first; 2,000 at most."""
    query = {"limit": str(limit), "offset": str(offset), **given(state=state)}
    return Call(Exchange("GET", "/action-tokens", query=query))


def claim_link(action_token_id: str) -> Call[ActionToken]:
    return get("/action-tokens", action_token_id)


def create_claim_link(
    tokens: int | Sequence[str],
    *,
    sender: str | None = None,
    email: str | None = None,
    email_must_match: bool | None = None,
    message: str | None = None,
    expires_at: datetime | None = None,
    idempotency_key: str | None = None,
) -> Call[CreatedActionToken]:
    """
    Reserve a number of tokens, or the tokens with these ids, for the one who claims them with the link in the answer.

    By default it gives tokens of the caller's wallet. It expires at `expires_at`, or as the server's setting says.
    """
    what = {"bundle": {"bundle_size": tokens}} if isinstance(tokens, int) else {"tokens": list(tokens)}
    wish = _wish(sender, email, email_must_match, message, expires_at)
    return write("POST", "/action-tokens", key=idempotency_key, body={**what, **wish})


def create_claim_links(
    count: int,
    tokens: int,
    *,
    sender: str | None = None,
    message: str | None = None,
    expires_at: datetime | None = None,
    file_type: Literal["csv", "pdf"] = "csv",
    idempotency_key: str | None = None,
) -> Call[bytes]:
    """Create up to 1,000 links of equally many tokens, and return a table, or a sheet of QR codes to print."""
    wish = _wish(sender, None, None, message, expires_at)
    body = {"count": count, "bundle": {"bundle_size": tokens}, "format": file_type, **wish}
    return Call(Exchange("POST", "/action-tokens/batch", json=body, key=checked_key(idempotency_key)), content)


def cancel_claim_link(action_token_id: str, *, idempotency_key: str | None = None) -> Call[ActionToken]:
    """Cancel an active claim link: its tokens are free again."""
    return write("DELETE", "/action-tokens", action_token_id, key=idempotency_key)


def redeem_claim_link(
    code: str, *, wallet: str | None = None, email: str | None = None, idempotency_key: str | None = None
) -> Call[Transfer]:
    """Claim the tokens of a link into a wallet, by default the caller's. Give the address that the link asks for."""
    body = given(action_token=code, wallet=wallet, email=email)
    return write("POST", "/action-tokens/redeem", key=idempotency_key, body=body)


def describe_claim_link(code: str) -> Call[ActionTokenDescription]:
    """Who sends how many tokens, and until when. Needs neither API key nor bearer token."""
    return Call(Exchange("POST", "/action-tokens/describe", json={"action_token": code}))


def _wish(
    sender: str | None,
    email: str | None,
    email_must_match: bool | None,
    message: str | None,
    expires_at: datetime | None,
) -> dict[str, Any]:
    return given(
        sender_wallet=sender,
        recipient_email=email,
        email_must_match=email_must_match,
        message=message,
        expires_at=None if expires_at is None else time_text(expires_at),
    )
