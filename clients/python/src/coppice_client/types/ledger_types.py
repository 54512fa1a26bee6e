"""Bodies of answers about wallets, tokens, transfers, trusts, keys, events and webhooks."""

from typing import Any, Final, Literal, NotRequired, TypeAlias, TypedDict

TransferState: TypeAlias = Literal["requested", "pending", "completed", "cancelled", "failed"]
TransferAction: TypeAlias = Literal["accept", "fulfill", "decline", "delete", "approve", "refuse"]
TrustRequestType: TypeAlias = Literal["send", "receive", "manage", "yield"]
TrustState: TypeAlias = Literal["requested", "trusted", "cancelled_by_originator", "cancelled_by_target"]
ActionTokenState: TypeAlias = Literal["active", "redeemed", "cancelled", "expired"]


class WalletWithTokens(TypedDict):
    """A wallet with its numbers of tokens; `tokens_pending` of them are reserved by open transfers."""

    id: str
    name: str
    about: str | None
    logo_url: str | None
    created_at: str
    tokens_in_wallet: int
    tokens_available: int
    tokens_pending: int


class Wallet(WalletWithTokens):
    """A row of the list of wallets. It has all fields if a filter is used."""

    cover_url: NotRequired[str | None]
    display_name: NotRequired[str | None]


class SingleWallet(WalletWithTokens):
    """The answer about one wallet; `wallet` is its name once more."""

    cover_url: str | None
    display_name: str | None
    wallet: str


class TokenBalance(TypedDict):
    """How many tokens a wallet held just before `at`."""

    wallet_id: str
    at: str
    balance: int


class TokenLine(TypedDict):
    """What moved tokens into a wallet, or out of it if `amount` is negative. Issued tokens have no transfer."""

    at: str
    type: Literal["issued", "received", "sent"]
    amount: int
    balance: int
    transfer_id: str | None
    counterparty: str | None


class LoginSession(TypedDict):
    """A login of the caller's wallet that is valid. `is_current`: it is that of the client's bearer token."""

    id: str
    created_at: str
    expires_at: str
    last_used_at: str | None
    address: str | None
    api_key: str | None
    is_current: bool


class EndedSessions(TypedDict):
    sessions_ended: int
    # If the request ended restricted keys too.
    keys_ended: NotRequired[int]


class NewWallet(TypedDict):
    id: str
    wallet: str
    about: str | None


class TokenLinks(TypedDict):
    capture: str


class Token(TypedDict):
    id: str
    capture_id: str
    wallet_id: str
    transfer_pending: bool
    transfer_pending_id: str | None
    created_at: str
    updated_at: str
    claim: bool
    links: TokenLinks


class CreatedActionToken(TypedDict):
    """A claim link that was created. Anyone who has `action_token`, the code, or `url` may claim the tokens, once."""

    id: str
    action_token: str
    expires_at: str
    token_count: int
    url: str


class ActionToken(TypedDict):
    """A claim link. Its code is in the answer that created it, and nowhere else."""

    id: str
    sender_wallet_id: str
    recipient_email: str | None
    token_count: int
    state: ActionTokenState
    expires_at: str
    created_at: str
    redeemed_at: str | None
    message: str | None
    email_must_match: bool


class ActionTokenPage(TypedDict):
    """Some claim links, the newest first."""

    action_tokens: list[ActionToken]


class ActionTokenDescription(TypedDict):
    """What a claim link is, for a person who has its code."""

    sender_wallet: str
    message: str | None
    token_count: int
    state: ActionTokenState
    expires_at: str
    email_must_match: bool


class Movement(TypedDict):
    """One movement of a token."""

    processed_at: str
    sender_wallet: str
    receiver_wallet: str


class Bundle(TypedDict):
    bundleSize: int


class TransferParameters(TypedDict):
    """Either a number of tokens or a list of their ids."""

    bundle: NotRequired[Bundle]
    tokens: NotRequired[list[str]]


class Transfer(TypedDict):
    id: str
    type: str
    parameters: TransferParameters
    state: TransferState
    created_at: str
    closed_at: str | None
    active: bool
    claim: bool
    originating_wallet: str
    source_wallet: str
    destination_wallet: str
    # Whether its sender must approve it first.
    awaiting_approval: NotRequired[bool]
    reference: NotRequired[str]
    metadata: NotRequired[dict[str, str]]
    expires_at: NotRequired[str]
    # In answers about one transfer alone.
    available_actions: NotRequired[list[TransferAction]]


class AskedApprovalDemand(TypedDict):
    above: int | None
    new_receivers: bool
    expires_at: str


class ApprovalDemand(TypedDict):
    above: int | None
    new_receivers: bool
    asked: AskedApprovalDemand | None


def token_count(transfer: Transfer) -> int:
    """Return the number of tokens of a transfer."""
    parameters = transfer["parameters"]
    if "bundle" in parameters:
        return parameters["bundle"]["bundleSize"]
    return len(parameters.get("tokens", ()))


class Sum(TypedDict):
    total_amount: int
    count: int


class PendingSums(TypedDict):
    wallet_id: str
    wallet_name: str
    pending_outgoing: Sum
    pending_incoming: Sum
    net_pending: int


class Trust(TypedDict):
    """A trust relationship: the `actor_wallet` asked the `target_wallet` for it."""

    id: str
    type: str
    request_type: TrustRequestType
    state: TrustState
    created_at: str
    updated_at: str
    originating_wallet: str
    actor_wallet: str
    target_wallet: str
    actor_wallet_id: NotRequired[str]
    target_wallet_id: NotRequired[str]
    originator_wallet_id: NotRequired[str]
    active: NotRequired[bool]


class Dismissal(TypedDict):
    trust_relationships: list[Trust]


class Event(TypedDict):
    """Something that happened to the wallet `wallet_id`. The fields of `payload` depend on the type."""

    id: str
    wallet_id: str
    type: str
    created_at: str
    payload: dict[str, Any]


WebhookState = Literal["enabled", "disabled"]
DeliveryState = Literal["pending", "delivered", "failed", "cancelled"]


class Webhook(TypedDict):
    """A URL to which the events of a wallet are sent; of all types if `event_types` is empty."""

    id: str
    wallet_id: str
    wallet: str
    owner: str
    url: str
    event_types: list[str]
    state: WebhookState
    disabled_by: str | None
    disabled_at: str | None
    failing_since: str | None
    previous_secret_until: str | None
    created_at: str
    changed_at: str


KeyScope = Literal[
    "wallets:read",
    "tokens:read",
    "transfers:read",
    "transfers:write",
    "transfers:pending-only",
    "trusts:read",
    "trusts:write",
    "events:read",
    "webhooks:write",
    "coins:read",
    "coins:move",
    "lockers:peek",
]


class RestrictedKey(TypedDict):
    """A key of a program, without its secret. `wallets` are ids."""

    id: str
    name: str
    prefix: str
    scopes: list[KeyScope]
    wallets: list[str]
    networks: list[str]
    tokens_per_transfer: int | None
    tokens_per_day: int | None
    created_at: str
    last_used_at: str | None
    expires_at: str | None
    ended_at: str | None


class NewRestrictedKey(RestrictedKey):
    """A new key with its secret, which no later answer has."""

    key: str


class WebhookWithSecret(Webhook):
    """A webhook with its new secret, which no later answer has."""

    secret: str


class DeletedWebhook(TypedDict):
    id: str
    deleted: bool


class Delivery(TypedDict):
    """A message to a webhook, with its last attempt."""

    id: str
    message_id: str
    type: str
    state: DeliveryState
    attempts: int
    status: int | None
    error: str | None
    response: str
    duration_ms: int | None
    last_attempt_at: str | None
    next_attempt_at: str | None
    created_at: str


class Checkpoint(TypedDict):
    """The public part of a seal; hashes and the signature in hexadecimal digits. `key` is empty if none signed it."""

    height: int
    format: int
    previous: str
    root: str
    leaves: int
    sealed_at: str
    hash: str
    key: str
    signature: str


class PublicKey(TypedDict):
    """A key that signs seals, in base64."""

    id: str
    public_key: str


class CheckpointPage(TypedDict):
    format: int
    checkpoints: list[Checkpoint]
    next_after: int | None
    is_signed: bool
    keys: list[PublicKey]


class SealProof(TypedDict):
    """A sealed row, with what proves that its block has it."""

    table: str
    version: int
    row: dict[str, Any]
    salt: str
    index: int
    path: list[str]
    checkpoint: Checkpoint


class TransferProofs(TypedDict):
    format: int
    proofs: list[SealProof]


class TokenProofs(TransferProofs):
    """A page of proofs; `next_after_number` begins the next one."""

    next_after_number: int | None


TRUST_REQUEST_TYPES: Final[tuple[TrustRequestType, ...]] = ("send", "receive", "manage", "yield")
