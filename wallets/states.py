"""Enumerations: kinds of events, means of known origins, verbs of operators, results of audits."""

from django.db import models


class EventType(models.TextChoices):
    """The kinds of events; those of wallets, trusts and transfers in the words of the public service."""

    LOGIN = "login"
    WALLET_CREATED = "wallet_created"
    TRUST_REQUEST = "trust_request"
    TRUST_REQUEST_GRANTED = "trust_request_granted"
    TRUST_REQUEST_CANCELLED_BY_TARGET = "trust_request_cancelled_by_target"
    TRUST_REQUEST_CANCELLED_BY_ORIGINATOR = "trust_request_cancelled_by_originator"
    # Not in the public service: another wallet no longer manages this one.
    MANAGEMENT_ENDED = "management_ended"
    TRANSFER_REQUESTED = "transfer_requested"
    TRANSFER_COMPLETED = "transfer_completed"
    TRANSFER_REQUEST_CANCELLED_BY_DESTINATION = "transfer_request_cancelled_by_destination"
    TRANSFER_PENDING_CANCELLED_BY_REQUESTOR = "transfer_pending_cancelled_by_requestor"
    TRANSFER_FAILED = "transfer_failed"
    # Not in the public service: of approvals that a wallet demands for transfers of its tokens.
    TRANSFER_APPROVAL_REQUESTED = "transfer_approval_requested"
    APPROVAL_CHANGED = "approval_changed"
    APPROVAL_CHANGE_REQUESTED = "approval_change_requested"
    # Not in the public service: of coins and of webhooks.
    LOCKER_PUT_SETTLED = "locker.put.settled"
    LOCKER_TAKE_SETTLED = "locker.take.settled"
    COINS_IMPORT_SETTLED = "coins.import.settled"
    COINS_EXPORT_SETTLED = "coins.export.settled"
    COINS_TRANSFER_SETTLED = "coins.transfer.settled"
    COINS_RECEIVED = "coins.received"
    # Of payment requests for coins, to the payee.
    PAYMENT_REQUEST_PARTLY_PAID = "payment_request.partly_paid"
    PAYMENT_REQUEST_PAID = "payment_request.paid"
    PAYMENT_REQUEST_PAID_LATE = "payment_request.paid_late"
    PAYMENT_REQUEST_CANCELLED = "payment_request.cancelled"
    PAYMENT_REQUEST_EXPIRED = "payment_request.expired"
    WEBHOOK_DISABLED = "webhook.disabled"
    KEY_CREATED = "key.created"
    KEY_ENDED = "key.ended"
    PASSWORD_CHANGED = "password.changed"  # noqa: S105 - a type
    SESSIONS_ENDED = "sessions.ended"


class KeyScope(models.TextChoices):
    """What a restricted key may do. `config.api.key_scopes` says which operations each allows."""

    WALLETS_READ = "wallets:read"
    TOKENS_READ = "tokens:read"
    TRANSFERS_READ = "transfers:read"
    TRANSFERS_WRITE = "transfers:write"
    # Transfers that never complete without a further decision.
    TRANSFERS_PENDING_ONLY = "transfers:pending-only"
    TRUSTS_READ = "trusts:read"
    # Trusts that let tokens be sent, never those that give control of a wallet.
    TRUSTS_WRITE = "trusts:write"
    EVENTS_READ = "events:read"
    WEBHOOKS_WRITE = "webhooks:write"
    COINS_READ = "coins:read"
    COINS_MOVE = "coins:move"
    LOCKERS_PEEK = "lockers:peek"


class OriginMeans(models.TextChoices):
    """What identifies a client that has logged in before."""

    ADDRESS = "address"
    API_KEY = "api_key", "API key"


class OperatorVerb(models.TextChoices):
    """What an operator can do in the admin, in the past tense, as the log shows it."""

    ISSUED_TOKENS = "issued_tokens", "issued tokens"
    CREATED_WALLET = "created_wallet", "created a wallet"
    SET_PASSWORD = "set_password", "set a password"
    CREATED_API_KEY = "created_api_key", "created an API key"
    ROTATED_API_KEY = "rotated_api_key", "rotated an API key"
    REVOKED_API_KEY = "revoked_api_key", "revoked an API key"
    REVOKED_BEARER_TOKENS = "revoked_bearer_tokens", "revoked bearer tokens"
    ENDED_RESTRICTED_KEY = "ended_restricted_key", "ended a restricted key"
    ENDED_RESTRICTED_KEYS = "ended_restricted_keys", "ended all restricted keys"
    ENDED_TRUST = "ended_trust", "ended a trust"
    CANCELLED_TRANSFER = "cancelled_transfer", "cancelled a transfer"
    # Shorter than its label: the column has 24 characters.
    CANCELLED_PAYMENT_REQUEST = "ended_payment_request", "cancelled a payment request"
    CANCELLED_ACTION_TOKEN = "cancelled_action_token", "cancelled a claim link"
    RETRIED_TASK = "retried_task", "retried a task"
    STARTED_FIND = "started_find", "began to find coins"
    ROLLED_BACK_TASK = "rolled_back_task", "rolled a task back"
    SAW_TASK = "saw_task", "marked a task as seen"
    STARTED_FIX = "started_fix", "began to fix coins"
    CHECKED_COINS = "checked_coins", "began to check coins"
    RAN_AUDIT = "ran_audit", "ran the audit"
    SET_FAULT = "set_fault", "set a fault of the local network"
    CREATED_PERSON = "created_person", "created an account"
    CHANGED_ROLE = "changed_role", "changed a role"
    CHANGED_MAIL = "changed_mail", "changed a mail address"
    ACTIVATED_PERSON = "activated_person", "activated an account"
    DEACTIVATED_PERSON = "deactivated_person", "deactivated an account"
    SET_PERSON_PASSWORD = "set_person_password", "set the password of an account"
    CHANGED_OWN_PASSWORD = "changed_own_password", "changed the own password"
    SET_UP_SECOND_FACTOR = "set_up_second_factor", "set up a second factor"
    RESET_SECOND_FACTOR = "reset_second_factor", "reset a second factor"
    ENDED_SESSIONS = "ended_sessions", "ended sessions"
    DISABLED_WEBHOOK = "disabled_webhook", "disabled a webhook"
    ENABLED_WEBHOOK = "enabled_webhook", "enabled a webhook"
    TESTED_WEBHOOK = "tested_webhook", "tested a webhook"
    RESENT_DELIVERY = "resent_delivery", "sent a delivery again"
    ACKNOWLEDGED_ALERT = "acknowledged_alert", "acknowledged an alert"
    PROPOSED = "proposed", "proposed"
    REFUSED_PROPOSAL = "refused_proposal", "refused a proposal"
    PSEUDONYMISED_WALLET = "pseudonymised_wallet", "pseudonymised a wallet"


class AuditResult(models.TextChoices):
    """The state of an audit. All but RUNNING are final."""

    RUNNING = "running"
    SOUND = "sound"
    UNSOUND = "unsound", "found something"
    FAILED = "failed", "did not end"
