"""
What differs below `/wallet/v2`, the address of the public service's later version: one table.

The paths, the view sets and the rules are those of `/wallet` and the root, which answer as the first version does. The
tables name an action as `"WalletViewSet.create"`.
"""

import re
from collections.abc import Mapping
from typing import Any, Final, NamedTuple

from transfers import errors as transfers_errors
from trusts import errors as trusts_errors
from wallets import errors as wallets_errors
from wallets.errors import DomainError

# Without the leading slash, as in a URL conf.
PREFIX: Final = "wallet/v2/"

# Actions that answer with 201 instead of 200.
CREATES: Final = frozenset({"WalletViewSet.create", "TrustViewSet.create", "BatchViewSet.create_wallets"})

# Names of fields, by action.
RENAMED: Final[Mapping[str, Mapping[str, str]]] = {
    "TrustViewSet.create": {"originating_wallet": "originator_wallet"},
}


class Refusal(NamedTuple):
    """
    How an error is answered. `text` replaces the message; with a `pattern`, parts of it are kept as in `re.sub`.

    Without a `status` or a `text`, those of the first version stay.
    """

    status: int | None = None
    text: str | None = None
    pattern: str = r"(?s).*"


# Errors, in every action. The entry of the most specific class applies.
REFUSALS: Final[Mapping[type[DomainError], Refusal]] = {
    wallets_errors.WalletNameTaken: Refusal(409, r'The wallet "\1" already exists', r"(?s)The wallet '(.*)' .*"),
    wallets_errors.TokenNotVisible: Refusal(403),
    trusts_errors.TrustAlreadyExists: Refusal(409),
    transfers_errors.InsufficientTokens: Refusal(409),
    transfers_errors.TransferNotPending: Refusal(409),
    transfers_errors.TransferNotRequested: Refusal(409),
    transfers_errors.TransferNotOpen: Refusal(409, "The transfer state is neither pending nor requested"),
    transfers_errors.TokensAlreadyNamed: Refusal(409),
    transfers_errors.TooFewTokens: Refusal(409),
    transfers_errors.TooManyTokens: Refusal(409),
}
_NOT_YOURS: Final = Refusal(422, "You do not have permission to update this wallet")
# Errors of single actions, which come first.
REFUSALS_OF: Final[Mapping[str, Mapping[type[DomainError], Refusal]]] = {
    "WalletViewSet.partial_update": {
        wallets_errors.WalletNotControlled: _NOT_YOURS,
        wallets_errors.WalletNotFound: _NOT_YOURS,
    },
    "TrustViewSet.list_of_wallet": {
        wallets_errors.WalletNotControlled: _NOT_YOURS,
        wallets_errors.WalletNotFound: _NOT_YOURS,
    },
}

# A missing or invalid bearer token.
BEARER_REFUSED: Final = 401


def is_v2(path: str) -> bool:
    """Return whether a path, without the prefix of the public URL, is one of the later version. Case is ignored."""
    return path[1 : len(PREFIX) + 1].lower() == PREFIX


def refusal(action: str, error: DomainError, *, status: int, message: str) -> tuple[int, str]:
    """Return status and message of an error below `/wallet/v2`, from those of the first version."""
    for table in (REFUSALS_OF.get(action, {}), REFUSALS):
        for kind in type(error).__mro__:
            if (found := table.get(kind)) is not None:
                text = message if found.text is None else re.sub(found.pattern, found.text, message, count=1)
                return found.status or status, text
    return status, message


def success(action: str, status: int, body: Any) -> tuple[int, Any]:
    """Return status and body of a successful answer below `/wallet/v2`, from those of the first version."""
    if action in CREATES and status == 200:
        status = 201
    if action in RENAMED and isinstance(body, Mapping):
        names = RENAMED[action]
        body = {names.get(name, name): value for name, value in body.items()}
    return status, body
