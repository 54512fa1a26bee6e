"""Logins, wallets and tokens."""

from datetime import datetime

from coppice_client.calls.describing import content, get, given, path_of, write
from coppice_client.exchange import Call, Exchange, Listing, from_json, time_text
from coppice_client.types import (
    ApprovalDemand,
    Dismissal,
    EndedSessions,
    LoginSession,
    Movement,
    NewWallet,
    PendingSums,
    SingleWallet,
    Token,
    TokenBalance,
    TokenLine,
    Wallet,
)


def login(wallet: str, password: str) -> Call[str]:
    """Return a bearer token. Needs the API key."""
    exchange = Exchange("POST", "/auth", json={"wallet": wallet, "password": password})
    return Call(exchange, lambda response: str(from_json(response)["token"]))


def change_password(old: str, new: str, *, end_keys: bool = False) -> Call[EndedSessions]:
    """
    Set a new password of at least 8 characters, and end all sessions of the wallet but this one; `end_keys` ends its
    restricted keys too.

    After `OutcomeUnknown`, log in: which password is accepted tells whether it was changed.
    """
    return Call(
        Exchange(
            "POST",
            "/auth/password",
            json={"old_password": old, "new_password": new, **({"end_keys": True} if end_keys else {})},
        )
    )


def sessions(*, page_size: int = 100) -> Listing[LoginSession]:
    """The logins of the wallet that are valid, the newest first."""
    return Listing("/auth/sessions", "sessions", limit=page_size)


def end_session(session_id: str, *, idempotency_key: str | None = None) -> Call[EndedSessions]:
    """End a session: its bearer token is refused from now on."""
    return write("DELETE", "/auth/sessions", session_id, key=idempotency_key)


def log_out() -> Call[EndedSessions]:
    """End the session of the client's bearer token."""
    return Call(Exchange("DELETE", "/auth/token"))


def wallets(*, name: str | None = None, page_size: int = 100) -> Listing[Wallet]:
    """The caller's wallet and those that it manages. `name` selects those whose name contains the text."""
    return Listing("/wallets", "wallets", limit=page_size, name=name)


def wallet(wallet_id: str) -> Call[SingleWallet]:
    """A wallet, by its id."""
    return get("/wallets", wallet_id)


def export_wallet(wallet_id: str) -> Call[bytes]:
    """
    Everything that is stored about the caller's own wallet, as NDJSON.

    The last line has the number of the lines before it and the SHA-256 of their bytes.
    """
    return Call(Exchange("GET", path_of("/wallets", wallet_id, "/export")), content)


def approval_demand(wallet_id: str) -> Call[ApprovalDemand]:
    """Which transfers of the tokens of a wallet need an approval."""
    return get("/wallets", wallet_id, "/approval")


def demand_approvals(
    wallet_id: str, *, above: int | None = None, new_receivers: bool | None = None
) -> Call[ApprovalDemand]:
    """
    Set which transfers of the tokens of a wallet need an approval: of more tokens than `above`, to new receivers.

    What loosens the demand waits in `asked` until another login asks for the same.
    """
    body = given(above=above, new_receivers=new_receivers)
    return Call(Exchange("PUT", path_of("/wallets", wallet_id, "/approval"), json=body))


def create_wallet(name: str, *, about: str | None = None, idempotency_key: str | None = None) -> Call[NewWallet]:
    """Create a wallet that the caller manages."""
    return write("POST", "/wallets", key=idempotency_key, body=given(wallet=name, about=about))


def describe_wallet(
    wallet_id: str, *, display_name: str | None = None, about: str | None = None, idempotency_key: str | None = None
) -> Call[SingleWallet]:
    """Change what is said of a wallet. None leaves a text as it is."""
    body = given(display_name=display_name, about=about)
    return write("PATCH", "/wallets", wallet_id, key=idempotency_key, body=body)


def token_balance(wallet_id: str, *, at: datetime | None = None) -> Call[TokenBalance]:
    """How many tokens a wallet held just before a time, or holds now."""
    return Call(Exchange("GET", path_of("/wallets", wallet_id, "/balance"), query=_period(at=at)))


def token_statement(
    wallet_id: str, *, since: datetime | None = None, until: datetime | None = None, page_size: int = 100
) -> Listing[TokenLine]:
    """
    What moved the tokens of a wallet, the oldest first: from `since` on and before `until`, by default all.

    The balance before the first line is its `balance` less its `amount`.
    """
    period = _period(**{"from": since, "to": until})
    return Listing(path_of("/wallets", wallet_id, "/statement"), "lines", limit=page_size, **period)


def _period(**moments: datetime | None) -> dict[str, str]:
    """Return query parameters of times with microseconds: a boundary that is cut is another one."""
    return {name: time_text(each, timespec="microseconds") for name, each in moments.items() if each is not None}


def pending_sums(wallet_id: str) -> Call[PendingSums]:
    """How many tokens are on their way out of a wallet and into it."""
    return get("/wallets", wallet_id, "/pending-transfers")


def dismiss_manager(wallet_id: str, manager_wallet: str, *, idempotency_key: str | None = None) -> Call[Dismissal]:
    """End the control that a manager has of a wallet, and all that it set up there."""
    body = {"manager_wallet": manager_wallet}
    return write("POST", "/wallets", wallet_id, "/dismiss", key=idempotency_key, body=body)


def tokens(*, wallet: str | None = None, page_size: int = 100) -> Listing[Token]:
    """The tokens of a wallet, by default the caller's; the newest arrival first."""
    return Listing("/tokens", "tokens", limit=page_size, wallet=wallet)


def token(token_id: str) -> Call[Token]:
    return get("/tokens", token_id)


def token_history(token_id: str, *, page_size: int = 100) -> Listing[Movement]:
    """The movements of a token."""
    return Listing(path_of("/tokens", token_id, "/transactions"), "history", limit=page_size)
