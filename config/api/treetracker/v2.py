"""
What differs below `/wallet/v2`, the address of the public service's later version: one table.

The paths, the view sets and the rules are those of `/wallet` and the root, which answer as the first version does. The
tables name an action as `"WalletViewSet.create"`.
"""

import re
from collections.abc import Mapping
from typing import Any, Final, NamedTuple

from django.http import HttpRequest
from rest_framework.request import Request

from transfers import errors as transfers_errors
from trusts import errors as trusts_errors
from wallets import errors as wallets_errors
from wallets.errors import DomainError

# Without the leading slash, as in a URL conf.
PREFIX: Final = "wallet/v2/"
# Of these paths in the URL conf.
NAMESPACE: Final = "v2"

# Actions that answer with 201 instead of 200.
CREATES: Final = frozenset({"WalletViewSet.create", "TrustViewSet.create", "BatchViewSet.create_wallets"})

# Names of fields, by action.
RENAMED: Final[Mapping[str, Mapping[str, str]]] = {
    "TrustViewSet.create": {"originating_wallet": "originator_wallet"},
    "BatchViewSet.create_wallets": {"extraWalletInformationNotSaved": "extra_wallet_information_not_saved"},
}

# Values of fields, by action.
REPLACED: Final[Mapping[str, Mapping[str, str]]] = {
    "BatchViewSet.transfer": {"message": "Batch transfer successful"},
}

# Names of ids in paths, in messages about them.
PATH_NAMES: Final[Mapping[str, Mapping[str, str]]] = {
    "TokenViewSet.retrieve": {"token_id": "id"},
    "HistoryViewSet.list": {"token_id": "id"},
    "TrustViewSet.retrieve": {"trust_relationship_id": "trustRelationshipId"},
    "TrustViewSet.destroy": {"trust_relationship_id": "trustRelationshipId"},
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
    wallets_errors.InvalidCredentials: Refusal(text="Invalid Credentials"),
    wallets_errors.InvalidWalletName: Refusal(422, r'Invalid wallet name: "\1"', r"(?s)invalid wallet name:(.*)"),
    wallets_errors.MisleadingWalletName: Refusal(),
    wallets_errors.WalletNameTaken: Refusal(409, r'The wallet "\1" already exists', r"(?s)The wallet '(.*)' .*"),
    wallets_errors.TokenNotFound: Refusal(None, "Can not find token by id: ", "can not found token by id:"),
    wallets_errors.TokenNotVisible: Refusal(403),
    trusts_errors.TrustAlreadyExists: Refusal(409),
    trusts_errors.TrustNotAnswerable: Refusal(
        404, "No such trust relationship exists or it is not associated with the current wallet."
    ),
    transfers_errors.InsufficientTokens: Refusal(409),
    transfers_errors.TokenElsewhere: Refusal(None, "does not belong to the sender", "do not belongs to sender"),
    transfers_errors.TokenReserved: Refusal(
        None,
        " cannot be transferred for some reason--for example, it is part of another pending transfer",
        " can not be transfer for some reason.*",
    ),
    transfers_errors.TransferNotFound: Refusal(None, "Can not find transfer by id: ", "Can not found transfer by id:"),
    transfers_errors.TransferNotVisible: Refusal(
        text="Transfer does not exist or it is not related to this wallet",
    ),
    transfers_errors.TransferNotPending: Refusal(409),
    transfers_errors.TransferNotRequested: Refusal(409),
    transfers_errors.TransferNotOpen: Refusal(409, "The transfer state is neither pending nor requested"),
    transfers_errors.TokensAlreadyNamed: Refusal(409),
    transfers_errors.TooFewTokens: Refusal(409),
    transfers_errors.TooManyTokens: Refusal(409),
    transfers_errors.BatchUncovered: Refusal(409, "Sender does not have enough tokens."),
}
_NOT_YOURS: Final = Refusal(422, "You do not have permission to update this wallet")
# Errors of single actions, which come first.
REFUSALS_OF: Final[Mapping[str, Mapping[type[DomainError], Refusal]]] = {
    "WalletViewSet.partial_update": {
        wallets_errors.WalletNotControlled: _NOT_YOURS,
        wallets_errors.WalletNotFound: _NOT_YOURS,
    },
    "TokenViewSet.list": {
        wallets_errors.WalletNotControlled: Refusal(text="Wallet does not belong to the logged in wallet"),
    },
    "TrustViewSet.list_of_wallet": {
        wallets_errors.WalletNotControlled: _NOT_YOURS,
        wallets_errors.WalletNotFound: _NOT_YOURS,
    },
}

# A missing or invalid bearer token, and the message about a missing one.
BEARER_REFUSED: Final = 401
BEARER_MISSING: Final = "ERROR: Authentication, no token supplied for protected path"


def is_v2(request: HttpRequest | Request) -> bool:
    """Return whether the URL conf found the path of the request below the prefix."""
    match = request.resolver_match
    return match is not None and NAMESPACE in match.namespaces


def refusal(action: str, error: DomainError, *, status: int, message: str) -> tuple[int, str]:
    """Return status and message of an error below `/wallet/v2`, from those of the first version."""
    for table in (REFUSALS_OF.get(action, {}), REFUSALS):
        for kind in type(error).__mro__:
            if (found := table.get(kind)) is not None:
                text = message if found.text is None else re.sub(found.pattern, found.text, message, count=1)
                return found.status or status, text
    return status, message


def invalid(action: str, message: str) -> str:
    """Return the message of an invalid request below `/wallet/v2`, from that of the first version."""
    for name, renamed in PATH_NAMES.get(action, {}).items():
        message = message.replace(f'"{name}" must be a valid GUID', f'"{renamed}" must be a valid GUID')
    return message


def success(action: str, status: int, body: Any) -> tuple[int, Any]:
    """Return status and body of a successful answer below `/wallet/v2`, from those of the first version."""
    if action in CREATES and status == 200:
        status = 201
    if isinstance(body, Mapping) and (action in RENAMED or action in REPLACED):
        names, values = RENAMED.get(action, {}), REPLACED.get(action, {})
        body = {names.get(name, name): values.get(name, value) for name, value in body.items()}
    return status, body
