"""
Every call, as a function that describes it.

`Client` and `AsyncClient` have a method for each function. Parameters that name a wallet take its name or its id, and
`idempotency_key` takes the key of an earlier attempt whose outcome is unknown; without it a call makes a new one.
"""

from collections.abc import Callable, Mapping, Sequence
from datetime import datetime
from decimal import Decimal
from typing import Any, Literal
from urllib.parse import quote

import httpx2

from coppice_client.errors import CoppiceError
from coppice_client.exchange import Call, Exchange, Following, Listing, Waiting, from_json, time_text
from coppice_client.exchange import idempotency_key as checked_key
from coppice_client.types import (
    ActionToken,
    ActionTokenDescription,
    ActionTokenPage,
    ApprovalDemand,
    CoinWallet,
    CoinWalletWithTransactions,
    CreatedActionToken,
    DeletedWebhook,
    Delivery,
    DeliveryState,
    Dismissal,
    EndedSessions,
    Event,
    Export,
    FileType,
    KeyScope,
    Locker,
    LockerCode,
    LoginSession,
    Movement,
    NewRestrictedKey,
    NewWallet,
    Payment,
    PaymentMode,
    PaymentRequest,
    PaymentRequestState,
    PendingSums,
    Receipt,
    RestrictedKey,
    SingleWallet,
    StartedTask,
    StatementLine,
    Task,
    Token,
    TokenBalance,
    TokenLine,
    Transfer,
    TransferState,
    Trust,
    TrustRequestType,
    TrustState,
    Wallet,
    Webhook,
    WebhookState,
    WebhookWithSecret,
)

# A number of coins: a whole number, or an exact one with up to eight decimals.
CoinAmount = int | Decimal | str


def _get(*parts: str) -> Call[Any]:
    return Call(Exchange("GET", _path(*parts)))


def _write(method: str, *parts: str, key: str | None, body: Any = None) -> Call[Any]:
    return Call(Exchange(method, _path(*parts), json=body, key=checked_key(key)))


def _path(*parts: str) -> str:
    """Return a path of fixed parts, which begin with a slash, and of values."""
    return "".join(part if part.startswith("/") else f"/{_quoted(part)}" for part in parts)


def _quoted(value: str) -> str:
    # "." and ".." would name another path.
    if value in {"", ".", ".."}:
        raise ValueError(f"{value!r} is neither a name nor an id")
    return quote(value, safe="")


def _given(**values: Any) -> dict[str, Any]:
    return {name: value for name, value in values.items() if value is not None}


def _amount(amount: CoinAmount) -> int | str:
    return format(amount, "f") if isinstance(amount, Decimal) else amount


def login(wallet: str, password: str) -> Call[str]:
    """Return a bearer token. Needs the API key."""
    exchange = Exchange("POST", "/auth", json={"wallet": wallet, "password": password})
    return Call(exchange, lambda response: str(from_json(response)["token"]))


def change_password(old: str, new: str) -> Call[EndedSessions]:
    """
    Set a new password of at least 8 characters, and end all sessions of the wallet but this one.

    After `OutcomeUnknown`, log in: which password is accepted tells whether it was changed.
    """
    return Call(Exchange("POST", "/auth/password", json={"old_password": old, "new_password": new}))


def sessions(*, page_size: int = 100) -> Listing[LoginSession]:
    """The logins of the wallet that are valid, the newest first."""
    return Listing("/auth/sessions", "sessions", limit=page_size)


def end_session(session_id: str, *, idempotency_key: str | None = None) -> Call[EndedSessions]:
    """End a session: its bearer token is refused from now on."""
    return _write("DELETE", "/auth/sessions", session_id, key=idempotency_key)


def log_out() -> Call[EndedSessions]:
    """End the session of the client's bearer token."""
    return Call(Exchange("DELETE", "/auth/token"))


# --- Wallets and tokens -----------------------------------------------------------------------------------------------


def wallets(*, name: str | None = None, page_size: int = 100) -> Listing[Wallet]:
    """The caller's wallet and those that it manages. `name` selects those whose name contains the text."""
    return Listing("/wallets", "wallets", limit=page_size, name=name)


def wallet(wallet_id: str) -> Call[SingleWallet]:
    """A wallet, by its id."""
    return _get("/wallets", wallet_id)


def export_wallet(wallet_id: str) -> Call[bytes]:
    """
    Everything that is stored about the caller's own wallet, as NDJSON.

    The last line has the number of the lines before it and the SHA-256 of their bytes.
    """
    return Call(Exchange("GET", _path("/wallets", wallet_id, "/export")), _content)


def approval_demand(wallet_id: str) -> Call[ApprovalDemand]:
    """Which transfers of the tokens of a wallet need an approval."""
    return _get("/wallets", wallet_id, "/approval")


def demand_approvals(
    wallet_id: str, *, above: int | None = None, new_receivers: bool | None = None
) -> Call[ApprovalDemand]:
    """
    Set which transfers of the tokens of a wallet need an approval: of more tokens than `above`, to new receivers.

    What loosens the demand waits in `asked` until another login asks for the same.
    """
    body = _given(above=above, new_receivers=new_receivers)
    return Call(Exchange("PUT", _path("/wallets", wallet_id, "/approval"), json=body))


def create_wallet(name: str, *, about: str | None = None, idempotency_key: str | None = None) -> Call[NewWallet]:
    """Create a wallet that the caller manages."""
    return _write("POST", "/wallets", key=idempotency_key, body=_given(wallet=name, about=about))


def describe_wallet(
    wallet_id: str, *, display_name: str | None = None, about: str | None = None, idempotency_key: str | None = None
) -> Call[SingleWallet]:
    """Change what is said of a wallet. None leaves a text as it is."""
    body = _given(display_name=display_name, about=about)
    return _write("PATCH", "/wallets", wallet_id, key=idempotency_key, body=body)


def token_balance(wallet_id: str, *, at: datetime | None = None) -> Call[TokenBalance]:
    """How many tokens a wallet held just before a time, or holds now."""
    return Call(Exchange("GET", _path("/wallets", wallet_id, "/balance"), query=_period(at=at)))


def token_statement(
    wallet_id: str, *, since: datetime | None = None, until: datetime | None = None, page_size: int = 100
) -> Listing[TokenLine]:
    """
    What moved the tokens of a wallet, the oldest first: from `since` on and before `until`, by default all.

    The balance before the first line is its `balance` less its `amount`.
    """
    period = _period(**{"from": since, "to": until})
    return Listing(_path("/wallets", wallet_id, "/statement"), "lines", limit=page_size, **period)


def _period(**moments: datetime | None) -> dict[str, str]:
    """Return query parameters of times with microseconds: a boundary that is cut is another one."""
    return {name: time_text(each, timespec="microseconds") for name, each in moments.items() if each is not None}


def pending_sums(wallet_id: str) -> Call[PendingSums]:
    """How many tokens are on their way out of a wallet and into it."""
    return _get("/wallets", wallet_id, "/pending-transfers")


def dismiss_manager(wallet_id: str, manager_wallet: str, *, idempotency_key: str | None = None) -> Call[Dismissal]:
    """End the control that a manager has of a wallet, and all that it set up there."""
    body = {"manager_wallet": manager_wallet}
    return _write("POST", "/wallets", wallet_id, "/dismiss", key=idempotency_key, body=body)


def tokens(*, wallet: str | None = None, page_size: int = 100) -> Listing[Token]:
    """The tokens of a wallet, by default the caller's; the newest arrival first."""
    return Listing("/tokens", "tokens", limit=page_size, wallet=wallet)


def token(token_id: str) -> Call[Token]:
    return _get("/tokens", token_id)


def token_history(token_id: str, *, page_size: int = 100) -> Listing[Movement]:
    """The movements of a token."""
    return Listing(_path("/tokens", token_id, "/transactions"), "history", limit=page_size)


# --- Transfers --------------------------------------------------------------------------------------------------------


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
    return _get("/transfers", transfer_id)


def transfer_tokens(transfer_id: str, *, page_size: int = 100) -> Listing[Token]:
    """The tokens that a transfer moved, or reserves."""
    return Listing(_path("/transfers", transfer_id, "/tokens"), "tokens", limit=page_size)


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
    terms = _given(
        reference=reference,
        unique_reference=unique_reference,
        metadata=None if metadata is None else dict(metadata),
        expires_at=None if expires_at is None else time_text(expires_at),
    )
    body = {**what, "sender_wallet": sender, "receiver_wallet": receiver, **terms}
    return _write("POST", "/transfers", key=idempotency_key, body=body)


def accept(transfer_id: str, *, idempotency_key: str | None = None) -> Call[Transfer]:
    """Accept a pending transfer, as its receiver."""
    return _write("POST", "/transfers", transfer_id, "/accept", key=idempotency_key, body={})


def fulfill(
    transfer_id: str, *, tokens: Sequence[str] | None = None, idempotency_key: str | None = None
) -> Call[Transfer]:
    """Fulfill a requested transfer, as its sender: with any tokens, or with the tokens with these ids."""
    body = {"implicit": True} if tokens is None else {"tokens": list(tokens)}
    return _write("POST", "/transfers", transfer_id, "/fulfill", key=idempotency_key, body=body)


def approve(transfer_id: str, *, idempotency_key: str | None = None) -> Call[Transfer]:
    """
    Approve a transfer that awaits the approval of its sender, which the caller controls.

    It needs another login than the one that made the transfer.
    """
    return _write("POST", "/transfers", transfer_id, "/approve", key=idempotency_key, body={})


def refuse(transfer_id: str, *, idempotency_key: str | None = None) -> Call[Transfer]:
    """Cancel a transfer that awaits the approval of its sender, which the caller controls."""
    return _write("POST", "/transfers", transfer_id, "/refuse", key=idempotency_key, body={})


def decline(transfer_id: str, *, idempotency_key: str | None = None) -> Call[Transfer]:
    """Decline an open transfer, as the side that has to answer."""
    return _write("POST", "/transfers", transfer_id, "/decline", key=idempotency_key, body={})


def cancel(transfer_id: str, *, idempotency_key: str | None = None) -> Call[Transfer]:
    """Cancel an open transfer, as the side that began it."""
    return _write("DELETE", "/transfers", transfer_id, key=idempotency_key)


# --- Claim links ------------------------------------------------------------------------------------------------------


def claim_links(
    *, state: Literal["active", "redeemed", "cancelled"] | None = None, limit: int = 1000, offset: int = 0
) -> Call[ActionTokenPage]:
    """The claim links of the caller and of the wallets that it manages, the newest first; 2,000 at most."""
    query = {"limit": str(limit), "offset": str(offset), **_given(state=state)}
    return Call(Exchange("GET", "/action-tokens", query=query))


def claim_link(action_token_id: str) -> Call[ActionToken]:
    return _get("/action-tokens", action_token_id)


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
    return _write("POST", "/action-tokens", key=idempotency_key, body={**what, **wish})


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
    return Call(Exchange("POST", "/action-tokens/batch", json=body, key=checked_key(idempotency_key)), _content)


def cancel_claim_link(action_token_id: str, *, idempotency_key: str | None = None) -> Call[ActionToken]:
    """Cancel an active claim link: its tokens are free again."""
    return _write("DELETE", "/action-tokens", action_token_id, key=idempotency_key)


def redeem_claim_link(
    code: str, *, wallet: str | None = None, email: str | None = None, idempotency_key: str | None = None
) -> Call[Transfer]:
    """Claim the tokens of a link into a wallet, by default the caller's. Give the address that the link asks for."""
    body = _given(action_token=code, wallet=wallet, email=email)
    return _write("POST", "/action-tokens/redeem", key=idempotency_key, body=body)


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
    return _given(
        sender_wallet=sender,
        recipient_email=email,
        email_must_match=email_must_match,
        message=message,
        expires_at=None if expires_at is None else time_text(expires_at),
    )


# --- Trust relationships ----------------------------------------------------------------------------------------------


def trusts(
    *, state: TrustState | None = None, request_type: TrustRequestType | None = None, page_size: int = 100
) -> Listing[Trust]:
    """Trust relationships of the caller and of the wallets that it manages."""
    return Listing(
        "/trust_relationships", "trust_relationships", limit=page_size, state=state, request_type=request_type
    )


def trusts_of_wallet(
    wallet_id: str,
    *,
    state: TrustState | None = None,
    request_type: TrustRequestType | None = None,
    page_size: int = 100,
) -> Listing[Trust]:
    """Trust relationships in which a wallet is a party."""
    path = _path("/wallets", wallet_id, "/trust_relationships")
    return Listing(path, "trust_relationships", limit=page_size, state=state, request_type=request_type)


def trust(trust_id: str) -> Call[Trust]:
    return _get("/trust_relationships", trust_id)


def request_trust(
    request_type: TrustRequestType,
    wallet: str,
    *,
    requester: str | None = None,
    idempotency_key: str | None = None,
) -> Call[Trust]:
    """Ask a wallet for a trust relationship, for the caller or for a wallet that it manages (`requester`)."""
    body = _given(trust_request_type=request_type, requestee_wallet=wallet, requester_wallet=requester)
    return _write("POST", "/trust_relationships", key=idempotency_key, body=body)


def accept_trust(trust_id: str, *, idempotency_key: str | None = None) -> Call[Trust]:
    return _write("POST", "/trust_relationships", trust_id, "/accept", key=idempotency_key, body={})


def decline_trust(trust_id: str, *, idempotency_key: str | None = None) -> Call[Trust]:
    """Decline or end a trust relationship, as the wallet that was asked."""
    return _write("POST", "/trust_relationships", trust_id, "/decline", key=idempotency_key, body={})


def end_trust(trust_id: str, *, idempotency_key: str | None = None) -> Call[Trust]:
    """End a trust relationship, as either side."""
    return _write("DELETE", "/trust_relationships", trust_id, key=idempotency_key)


# --- Restricted keys --------------------------------------------------------------------------------------------------


def keys(*, page_size: int = 100) -> Listing[RestrictedKey]:
    """Restricted keys of the caller, the newest first, with those that have ended."""
    return Listing("/keys", "keys", limit=page_size)


def key(key_id: str) -> Call[RestrictedKey]:
    return _get("/keys", key_id)


def create_key(
    name: str,
    scopes: Sequence[KeyScope],
    *,
    wallets: Sequence[str] | None = None,
    networks: Sequence[str] | None = None,
    expires_at: datetime | None = None,
    tokens_per_transfer: int | None = None,
    tokens_per_day: int | None = None,
    idempotency_key: str | None = None,
) -> Call[NewRestrictedKey]:
    """
    Make a key that a program gives as `token` in place of a bearer token. Keep the `key` of the answer.

    It reaches the given wallets, or the caller's alone, from the given networks, or from everywhere.
    """
    body = _given(
        name=name,
        scopes=list(scopes),
        wallets=wallets,
        networks=networks,
        expires_at=None if expires_at is None else time_text(expires_at),
        tokens_per_transfer=tokens_per_transfer,
        tokens_per_day=tokens_per_day,
    )
    return _write("POST", "/keys", key=idempotency_key, body=body)


def rename_key(key_id: str, name: str, *, idempotency_key: str | None = None) -> Call[RestrictedKey]:
    return _write("PATCH", "/keys", key_id, key=idempotency_key, body={"name": name})


def end_key(key_id: str, *, idempotency_key: str | None = None) -> Call[RestrictedKey]:
    """End a key: it is refused from now on."""
    return _write("DELETE", "/keys", key_id, key=idempotency_key)


# --- Events -----------------------------------------------------------------------------------------------------------


def events(*, wallet: str | None = None, since: datetime | None = None, page_size: int = 100) -> Listing[Event]:
    """Events of the caller and of the wallets that it manages, the oldest first."""
    return Listing("/events", "events", limit=page_size, wallet=wallet, since=since)


def webhooks(*, wallet: str | None = None, page_size: int = 100) -> Listing[Webhook]:
    """Webhooks of the caller and of the wallets that it manages, or of one wallet."""
    return Listing("/webhooks", "webhooks", limit=page_size, wallet=wallet)


def webhook(webhook_id: str) -> Call[Webhook]:
    return _get("/webhooks", webhook_id)


def create_webhook(
    url: str,
    *,
    event_types: Sequence[str] | None = None,
    wallet: str | None = None,
    idempotency_key: str | None = None,
) -> Call[WebhookWithSecret]:
    """Have events of a wallet sent to a URL: those of some types, or all. Keep the `secret` of the answer."""
    body = _given(url=url, event_types=event_types, wallet=wallet)
    return _write("POST", "/webhooks", key=idempotency_key, body=body)


def change_webhook(
    webhook_id: str,
    *,
    url: str | None = None,
    event_types: Sequence[str] | None = None,
    state: WebhookState | None = None,
    idempotency_key: str | None = None,
) -> Call[Webhook]:
    """Change what is given. A webhook that is enabled gets what happens from then on."""
    body = _given(url=url, event_types=event_types, state=state)
    return _write("PATCH", "/webhooks", webhook_id, key=idempotency_key, body=body)


def delete_webhook(webhook_id: str, *, idempotency_key: str | None = None) -> Call[DeletedWebhook]:
    return _write("DELETE", "/webhooks", webhook_id, key=idempotency_key)


def rotate_webhook_secret(webhook_id: str, *, idempotency_key: str | None = None) -> Call[WebhookWithSecret]:
    """Replace the secret. For 24 hours messages are signed with both: verify with either."""
    return _write("POST", "/webhooks", webhook_id, "/rotate-secret", key=idempotency_key, body={})


def try_webhook(webhook_id: str, *, idempotency_key: str | None = None) -> Call[Delivery]:
    """Send a message of the type `webhook.test`."""
    return _write("POST", "/webhooks", webhook_id, "/test", key=idempotency_key, body={})


def webhook_deliveries(
    webhook_id: str, *, state: DeliveryState | None = None, page_size: int = 100
) -> Listing[Delivery]:
    """The deliveries of the last 30 days, the newest first."""
    return Listing(_path("/webhooks", webhook_id, "/deliveries"), "deliveries", limit=page_size, state=state)


def resend_delivery(webhook_id: str, delivery_id: str, *, idempotency_key: str | None = None) -> Call[Delivery]:
    """Send a message again, under the same id."""
    path = ("/webhooks", webhook_id, "/deliveries", delivery_id, "/resend")
    return _write("POST", *path, key=idempotency_key, body={})


def follow_events(
    *,
    wallet: str | None = None,
    since: datetime | None = None,
    page_size: int = 100,
    interval: float = 2.0,
    on_trouble: Callable[[CoppiceError], object] | None = None,
) -> Following:
    """
    Events as they happen, without end; those since a time first, or from now on.

    `interval` is the number of seconds between two questions. While the server cannot be reached, `on_trouble` is
    called with the error, and the server is asked again.
    """
    return Following(wallet=wallet, since=since, page_size=page_size, interval=interval, on_trouble=on_trouble)


# --- Lockers and coins ------------------------------------------------------------------------------------------------

# The name of the caller's own wallet below /api/.
OWN = "Default"


def put(
    amount: CoinAmount,
    *,
    wallet: str = OWN,
    tag: str | None = None,
    transmit_code: str | None = None,
    expires_at: datetime | None = None,
    idempotency_key: str | None = None,
) -> Call[StartedTask]:
    """
    Begin to put coins into a locker. Without `transmit_code` the server makes one.

    What is still in it at `expires_at`, from 5 minutes to 366 days ahead, is taken back into the wallet. The task's
    `data` has the code, or a `locker_id` if it was shown before: see `locker_code`.
    """
    body = _given(
        name=wallet,
        amount=_amount(amount),
        tag=tag,
        transmit_code=transmit_code,
        expires_at=None if expires_at is None else time_text(expires_at),
    )
    return _write("POST", "/api/v1/locker", key=idempotency_key, body=body)


def peek(transmit_code: str, *, idempotency_key: str | None = None) -> Call[StartedTask]:
    """Begin to look into a locker. Nothing is taken."""
    return _write("POST", "/api/v1/locker/peek", key=idempotency_key, body={"transmit_code": transmit_code})


def take(
    transmit_code: str, *, wallet: str = OWN, tag: str | None = None, idempotency_key: str | None = None
) -> Call[StartedTask]:
    """Begin to take the coins out of a locker."""
    body = _given(name=wallet, transmit_code=transmit_code, tag=tag)
    return _write("POST", "/api/v1/locker/take", key=idempotency_key, body=body)


def lockers(*, page_size: int = 100) -> Listing[Locker]:
    """Lockers that the caller, or a wallet that it manages, has filled."""
    return Listing("/api/v1/lockers", "lockers", limit=page_size)


def locker_code(locker_id: str, *, idempotency_key: str | None = None) -> Call[LockerCode]:
    """The transmit code of a filled locker."""
    return _write("POST", "/api/v1/lockers", locker_id, "/code", key=idempotency_key)


def task(task_id: str) -> Call[Task]:
    return _get("/api/v1/task", task_id)


def wait(task_id: str, *, on_progress: Callable[[Task], object] | None = None, seconds: float | None = None) -> Waiting:
    """
    Wait until a task has ended, and return it. Without `seconds` there is no limit.

    :raises TaskFailed: it ended with an error
    :raises TaskTimeout: it did not end in time; it goes on
    """
    return Waiting(task_id, task(task_id), on_progress, seconds)


def receipt(receipt_id: str) -> Call[Receipt]:
    """The result of a task for each coin."""
    return _get("/api/v1/receipts", receipt_id)


def coin_wallets() -> Call[list[CoinWallet]]:
    """The coins of the caller's wallet and of those that it manages."""
    return Call(Exchange("GET", "/api/v1/wallets"), lambda response: list(from_json(response)["wallets"]))


def coin_wallet(name: str = OWN) -> Call[CoinWalletWithTransactions]:
    """The coins of a wallet, and the newest lines of its statement."""
    return _get("/api/v1/wallets", name)


def statement(name: str = OWN, *, page_size: int = 100) -> Listing[StatementLine]:
    """The statement of a wallet's coins, the newest line first."""
    return Listing(_path("/api/v1/wallets", name, "/statement"), "transactions", limit=page_size)


def import_coins(
    files: Sequence[tuple[str, bytes]],
    *,
    wallet: str = OWN,
    tag: str | None = None,
    idempotency_key: str | None = None,
) -> Call[StartedTask]:
    """Begin to import files of coins, each a name and its content. Afterwards the files are worthless."""
    exchange = Exchange(
        "POST",
        "/api/v1/import",
        form=_given(name=wallet, tag=tag),
        files=[("file", each) for each in files],
        key=checked_key(idempotency_key),
    )
    return Call(exchange)


def export_coins(
    amount: CoinAmount | None,
    *,
    type: FileType = "bin",  # noqa: A002 - the name of the field
    wallet: str = OWN,
    tag: str | None = None,
    idempotency_key: str | None = None,
) -> Call[StartedTask]:
    """
    Move coins of a wallet into a file, or all of them if `amount` is None.

    The export has the id of the task. Fetch its file with `export_file`, and confirm once it is stored.
    """
    what = {"all": True} if amount is None else {"amount": _amount(amount)}
    body = _given(name=wallet, **what, tag=tag, type=type)
    return _write("POST", "/api/v1/export", key=idempotency_key, body=body)


def exports(*, page_size: int = 100) -> Listing[Export]:
    return Listing("/api/v1/exports", "exports", limit=page_size)


def export(export_id: str) -> Call[Export]:
    return _get("/api/v1/exports", export_id)


def export_file(export_id: str) -> Call[bytes]:
    """The file of an export, until its arrival is confirmed. Anyone who has it can import the coins."""
    return Call(Exchange("GET", _path("/api/v1/exports", export_id, "/file")), _content)


def _content(response: httpx2.Response) -> bytes:
    return response.content


def confirm_export(export_id: str, *, idempotency_key: str | None = None) -> Call[Export]:
    """Confirm that the file of an export arrived: it is not served again."""
    return _write("POST", "/api/v1/exports", export_id, "/confirm", key=idempotency_key)


def recall_export(export_id: str, *, idempotency_key: str | None = None) -> Call[StartedTask]:
    """Begin to take the coins of an export back, which makes its file worthless."""
    return _write("POST", "/api/v1/exports", export_id, "/recall", key=idempotency_key)


def move_coins(
    amount: CoinAmount, *, sender: str, receiver: str, tag: str | None = None, idempotency_key: str | None = None
) -> Call[StartedTask]:
    """Move coins to another wallet of the installation."""
    body = _given(srcname=sender, dstname=receiver, amount=_amount(amount), tag=tag)
    return _write("POST", "/api/v1/transfer", key=idempotency_key, body=body)


def fix_coins(wallet: str = OWN, *, idempotency_key: str | None = None) -> Call[StartedTask]:
    """Begin to fix coins that some servers do not accept."""
    return _write("POST", "/api/v1/fix", key=idempotency_key, body={"name": wallet})


def find_coins(wallet: str = OWN, *, idempotency_key: str | None = None) -> Call[StartedTask]:
    """Begin to look for coins whose state is unknown."""
    return _write("POST", "/api/v1/find", key=idempotency_key, body={"name": wallet})


def check_coins(wallet: str = OWN, *, idempotency_key: str | None = None) -> Call[StartedTask]:
    """Begin to ask which servers accept the coins of a wallet."""
    return _write("POST", "/api/v1/health", key=idempotency_key, body={"name": wallet})


# --- Payment requests -------------------------------------------------------------------------------------------------


def create_payment_request(
    amount: CoinAmount,
    description: str,
    *,
    wallet: str | None = None,
    mode: PaymentMode | None = None,
    reference: str | None = None,
    expires_at: datetime | None = None,
    idempotency_key: str | None = None,
) -> Call[PaymentRequest]:
    """Ask to be paid coins. Give the payer the `url` of the answer."""
    body = _given(
        amount=_amount(amount),
        description=description,
        wallet=wallet,
        mode=mode,
        reference=reference,
        expires_at=None if expires_at is None else time_text(expires_at),
    )
    return _write("POST", "/api/v1/payment-requests", key=idempotency_key, body=body)


def payment_requests(
    *,
    state: PaymentRequestState | None = None,
    wallet: str | None = None,
    reference: str | None = None,
    page_size: int = 100,
) -> Listing[PaymentRequest]:
    """The payment requests of the caller and of the wallets that it manages, the newest first."""
    return Listing(
        "/api/v1/payment-requests",
        "payment_requests",
        limit=page_size,
        state=state,
        wallet=wallet,
        reference=reference,
    )


def payment_request(payment_request_id: str) -> Call[PaymentRequest]:
    """A payment request, by the id in its link. Anyone who has it can read it."""
    return _get("/api/v1/payment-requests", payment_request_id)


def cancel_payment_request(payment_request_id: str, *, idempotency_key: str | None = None) -> Call[PaymentRequest]:
    """Cancel a payment request; what was paid stays the payee's."""
    return _write("DELETE", "/api/v1/payment-requests", payment_request_id, key=idempotency_key)


def pay(
    payment_request_id: str,
    *,
    amount: CoinAmount | None = None,
    wallet: str | None = None,
    idempotency_key: str | None = None,
) -> Call[Payment]:
    """
    Pay with coins of a wallet, by default all that is outstanding from the caller's.

    The payment is `pending` if a coin must be broken first: ask for it with `payment`.
    """
    body = _given(amount=None if amount is None else _amount(amount), wallet=wallet)
    return _write("POST", "/api/v1/payment-requests", payment_request_id, "/pay", key=idempotency_key, body=body)


def pay_with_code(payment_request_id: str, transmit_code: str, *, idempotency_key: str | None = None) -> Call[Payment]:
    """
    Begin to pay with all coins of a locker, filled here or anywhere. Ask for the payment with `payment`.

    If it fails, coins that were not taken are still in the locker.
    """
    body = {"transmit_code": transmit_code}
    return _write("POST", "/api/v1/payment-requests", payment_request_id, "/pay", key=idempotency_key, body=body)


def payment(payment_request_id: str, payment_id: str) -> Call[Payment]:
    return _get("/api/v1/payment-requests", payment_request_id, "/payments", payment_id)
