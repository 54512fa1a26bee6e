"""
Every call, as a function that describes it.

`Client` and `AsyncClient` have a method for each function. Parameters that name a wallet take its name or its id, and
`idempotency_key` takes the key of an earlier attempt whose outcome is unknown; without it a call makes a new one.
"""

from coppice_client.calls.coin_calls import (
    OWN,
    check_coins,
    coin_wallet,
    coin_wallets,
    confirm_export,
    export,
    export_coins,
    export_file,
    exports,
    find_coins,
    fix_coins,
    import_coins,
    locker_code,
    lockers,
    move_coins,
    peek,
    put,
    recall_export,
    receipt,
    statement,
    take,
    task,
    wait,
)
from coppice_client.calls.event_calls import (
    change_webhook,
    create_webhook,
    delete_webhook,
    events,
    follow_events,
    resend_delivery,
    rotate_webhook_secret,
    try_webhook,
    webhook,
    webhook_deliveries,
    webhooks,
)
from coppice_client.calls.key_calls import create_key, end_key, key, keys, rename_key
from coppice_client.calls.payment_calls import (
    cancel_payment_request,
    create_payment_request,
    pay,
    pay_with_code,
    payment,
    payment_request,
    payment_requests,
)
from coppice_client.calls.proof_calls import checkpoints, token_proof, transfer_proof
from coppice_client.calls.transfer_calls import (
    accept,
    approve,
    cancel,
    cancel_claim_link,
    claim_link,
    claim_links,
    create_claim_link,
    create_claim_links,
    decline,
    describe_claim_link,
    fulfill,
    redeem_claim_link,
    refuse,
    send,
    transfer,
    transfer_tokens,
    transfers,
)
from coppice_client.calls.trust_calls import (
    accept_trust,
    decline_trust,
    end_trust,
    request_trust,
    trust,
    trusts,
    trusts_of_wallet,
)
from coppice_client.calls.wallet_calls import (
    approval_demand,
    change_password,
    create_wallet,
    demand_approvals,
    describe_wallet,
    dismiss_manager,
    end_session,
    export_wallet,
    log_out,
    login,
    pending_sums,
    sessions,
    token,
    token_balance,
    token_history,
    token_statement,
    tokens,
    wallet,
    wallets,
)

# fmt: off
__all__ = [
    "OWN", "accept", "accept_trust", "approval_demand", "approve", "cancel", "cancel_claim_link",
    "cancel_payment_request", "change_password", "change_webhook", "check_coins", "checkpoints", "claim_link",
    "claim_links", "coin_wallet", "coin_wallets", "confirm_export", "create_claim_link", "create_claim_links",
    "create_key", "create_payment_request", "create_wallet", "create_webhook", "decline", "decline_trust",
    "delete_webhook", "demand_approvals", "describe_claim_link", "describe_wallet", "dismiss_manager", "end_key",
    "end_session", "end_trust", "events", "export", "export_coins", "export_file", "export_wallet", "exports",
    "find_coins", "fix_coins", "follow_events", "fulfill", "import_coins", "key", "keys", "locker_code", "lockers",
    "log_out", "login", "move_coins", "pay", "pay_with_code", "payment", "payment_request", "payment_requests",
    "peek", "pending_sums", "put", "recall_export", "receipt", "redeem_claim_link", "refuse", "rename_key",
    "request_trust", "resend_delivery", "rotate_webhook_secret", "send", "sessions", "statement", "take", "task",
    "token", "token_balance", "token_history", "token_proof", "token_statement", "tokens", "transfer",
    "transfer_proof", "transfer_tokens", "transfers", "trust", "trusts", "trusts_of_wallet", "try_webhook", "wait",
    "wallet", "wallets", "webhook", "webhook_deliveries", "webhooks",
]
# fmt: on
