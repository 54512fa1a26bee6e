"""
What each scope of a restricted key allows: one table, operation by operation.

An operation that is not in the table is refused, and a test compares the table with the API description. A scope to
write does not include one to read. What a key reaches of the objects of an operation is decided by
`wallets.restrictions`.
"""

from collections.abc import Mapping
from typing import Final

from config.api import error_codes as codes
from config.api.errors import RequestRefused
from wallets import errors, restrictions
from wallets.states import KeyScope

# It asks for no bearer token: a key in its place changes nothing.
_OPEN: Final = None
# No scope allows it: it needs a login, because its effect could outlast the key.
_REFUSED: Final[tuple[KeyScope, ...]] = ()

_WALLETS: Final = (KeyScope.WALLETS_READ,)
_TOKENS: Final = (KeyScope.TOKENS_READ,)
_TRANSFERS: Final = (KeyScope.TRANSFERS_READ,)
_TRANSFER: Final = (KeyScope.TRANSFERS_WRITE,)
_PENDING: Final = (KeyScope.TRANSFERS_WRITE, KeyScope.TRANSFERS_PENDING_ONLY)
_TRUSTS: Final = (KeyScope.TRUSTS_READ,)
_TRUST: Final = (KeyScope.TRUSTS_WRITE,)
_EVENTS: Final = (KeyScope.EVENTS_READ,)
_WEBHOOKS: Final = (KeyScope.WEBHOOKS_WRITE,)
_COINS: Final = (KeyScope.COINS_READ,)
_MOVE: Final = (KeyScope.COINS_MOVE,)
_PEEK: Final = (KeyScope.LOCKERS_PEEK,)
# The results of tasks, for those that begin them too.
_TASKS: Final = (KeyScope.COINS_READ, KeyScope.COINS_MOVE, KeyScope.LOCKERS_PEEK)

# Operation -> the scopes of which each allows it.
OPERATIONS: Final[Mapping[str, tuple[KeyScope, ...] | None]] = {
    "auth.login": _OPEN,
    # A key neither sees nor ends sessions, changes passwords, or makes keys.
    "auth.change_password": _REFUSED,
    "auth.sessions": _REFUSED,
    "auth.end_session": _REFUSED,
    "auth.log_out": _REFUSED,
    "keys.list": _REFUSED,
    "keys.create": _REFUSED,
    "keys.get": _REFUSED,
    "keys.rename": _REFUSED,
    "keys.end": _REFUSED,
    "wallets.list": _WALLETS,
    "wallets.get": _WALLETS,
    "wallets.balance": _WALLETS,
    "wallets.statement": _WALLETS,
    # Everything that is stored: more than any scope reads.
    "wallets.export": _REFUSED,
    "approvals.get": _WALLETS,
    # The demand protects from keys too.
    "approvals.change": _REFUSED,
    # A new wallet would not be among those of the key; texts and images are what people recognise a wallet by.
    "wallets.create": _REFUSED,
    "wallets.create_batch": _REFUSED,
    "wallets.update": _REFUSED,
    "tokens.list": _TOKENS,
    "tokens.get": _TOKENS,
    "tokens.movements": _TOKENS,
    "tokens.proof": _TOKENS,
    "transfers.list": _TRANSFERS,
    "transfers.get": _TRANSFERS,
    "transfers.tokens": _TRANSFERS,
    "transfers.proof": _TRANSFERS,
    "transfers.pending": _TRANSFERS,
    "transfers.create": _PENDING,
    "transfers.create_batch": _PENDING,
    # A transfer that is pending may be cancelled.
    "transfers.cancel": _PENDING,
    "transfers.accept": _TRANSFER,
    "transfers.fulfill": _TRANSFER,
    "transfers.decline": _TRANSFER,
    # An approval needs a second login, and a key is not one: a login can create it.
    "transfers.approve": _REFUSED,
    "transfers.refuse": _TRANSFER,
    "action_tokens.list": _TRANSFERS,
    "action_tokens.get": _TRANSFERS,
    # A claim completes it without a further decision of the owner.
    "action_tokens.create": _TRANSFER,
    "action_tokens.create_batch": _TRANSFER,
    "action_tokens.redeem": _TRANSFER,
    "action_tokens.cancel": _TRANSFER,
    "action_tokens.describe": _OPEN,
    "trusts.list": _TRUSTS,
    "trusts.get": _TRUSTS,
    "trusts.list_of_wallet": _TRUSTS,
    # Those that give control of a wallet are refused by `trusts.operations`.
    "trusts.create": _TRUST,
    "trusts.accept": _TRUST,
    "trusts.decline": _TRUST,
    "trusts.cancel": _TRUST,
    "trusts.dismiss_manager": _REFUSED,
    "events.list": _EVENTS,
    "webhooks.list": _WEBHOOKS,
    "webhooks.create": _WEBHOOKS,
    "webhooks.get": _WEBHOOKS,
    "webhooks.update": _WEBHOOKS,
    "webhooks.delete": _WEBHOOKS,
    "webhooks.rotate_secret": _WEBHOOKS,
    "webhooks.test": _WEBHOOKS,
    "webhooks.deliveries": _WEBHOOKS,
    "webhooks.resend": _WEBHOOKS,
    "coin_wallets.list": _COINS,
    "coin_wallets.get": _COINS,
    "coin_wallets.statement": _COINS,
    "coin_wallets.balance": _COINS,
    "coin_wallets.create": _REFUSED,
    "coins.transfer": _MOVE,
    "coins.import": _MOVE,
    # These change coins or ask servers about them.
    "coins.find": _MOVE,
    "coins.fix": _MOVE,
    "coins.check": _MOVE,
    "coins.break": _MOVE,
    "lockers.list": _COINS,
    # The code is the coins.
    "lockers.code": _MOVE,
    "lockers.put": _MOVE,
    "lockers.put_and_wait": _MOVE,
    "lockers.put_one_and_wait": _MOVE,
    "lockers.take": _MOVE,
    "lockers.take_by_path": _MOVE,
    "lockers.take_and_wait": _MOVE,
    "lockers.peek": _PEEK,
    "lockers.peek_by_path": _PEEK,
    "lockers.peek_and_wait": _PEEK,
    "lockers.peek_and_wait_by_query": _PEEK,
    "servers.echo": _PEEK,
    "tasks.get": _TASKS,
    "tasks.get_system": _TASKS,
    "receipts.get": _COINS,
    "receipts.get_of_wallet": _COINS,
    "exports.list": _COINS,
    "exports.get": _COINS,
    # The file is the coins.
    "exports.file": _MOVE,
    "exports.create": _MOVE,
    "exports.confirm": _MOVE,
    "exports.recall": _MOVE,
    "payment_requests.list": _COINS,
    "payment_requests.get": _COINS,
    "payment_requests.payment": _COINS,
    "payment_requests.create": _MOVE,
    "payment_requests.cancel": _MOVE,
    "payment_requests.pay": _MOVE,
}


# The refusals of operations that a key's limits count.
LIMITS: Final = (
    errors.KeyLimitExceeded("The key may move 500 tokens in a day (UTC), and has moved 480"),
    errors.RestrictedKeyEnded(),
)


def check(operation: str) -> None:
    """
    Refuse an operation that the restricted key of the current request, if it has one, has no scope for.

    :raises RequestRefused: 403
    """
    restriction = restrictions.current()
    if restriction is None:
        return
    allowing = OPERATIONS.get(operation) or _REFUSED
    if restriction.scopes.isdisjoint(allowing):
        raise refusal(allowing)


def refusal(allowing: tuple[KeyScope, ...]) -> RequestRefused:
    """Return the error for a key with none of these scopes."""
    needed = " or ".join(scope.value for scope in allowing)
    message = f"The key needs the scope {needed}" if needed else "No restricted key may do this; log in instead"
    return RequestRefused(codes.KEY_SCOPE_MISSING, message)
