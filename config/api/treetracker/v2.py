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

# Actions that answer with 201 instead of 200, except to a dry run.
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

_TOKEN_ID: Final = {'"token_id"': '"id"'}
_TRUST_ID: Final = {'"trust_relationship_id"': '"trustRelationshipId"'}
_NO_TABLE: Final = {"Only csv files are supported": "Only CSV files are supported."}
# Texts in messages about invalid values, by action.
INVALID: Final[Mapping[str, Mapping[str, str]]] = {
    "TokenViewSet.retrieve": _TOKEN_ID,
    "HistoryViewSet.list": _TOKEN_ID,
    "TrustViewSet.retrieve": _TRUST_ID,
    "TrustViewSet.accept": _TRUST_ID,
    "TrustViewSet.decline": _TRUST_ID,
    "TrustViewSet.destroy": _TRUST_ID,
    "BatchViewSet.create_wallets": _NO_TABLE,
    "BatchViewSet.transfer": _NO_TABLE,
}

# Characters of the name of a login that names no wallet: with others it is 422.
LOGIN_NAME_LENGTHS: Final = (3, 55)
# An API key without access to batches.
BATCH_REFUSED: Final = (401, "Invalid API access, no permission to access this endpoint")


class Refusal(NamedTuple):
    """
    How an error is answered. `text` replaces the message; with a `pattern`, parts of it are kept as in `re.sub`. A name
    in braces is an attribute of the error.

    Without a `status` or a `text`, those of the first version stay. With `told_as`, the answer has the code of that
    error: a code must not tell apart what the text does not.
    """

    status: int | None = None
    text: str | None = None
    pattern: str = r"(?s).*"
    told_as: type[DomainError] | None = None


# Errors, in every action. The entry of the most specific class applies.
REFUSALS: Final[Mapping[type[DomainError], Refusal]] = {
    wallets_errors.InvalidCredentials: Refusal(text="Invalid Credentials"),
    wallets_errors.InvalidWalletName: Refusal(422, r'Invalid wallet name: "\1"', r"(?s)invalid wallet name:(.*)"),
    wallets_errors.MisleadingWalletName: Refusal(),
    wallets_errors.WalletNameTaken: Refusal(409, r'The wallet "\1" already exists', r"(?s)The wallet '(.*)' .*"),
    wallets_errors.TokenNotFound: Refusal(None, "Can not find token by id: ", "can not found token by id:"),
    wallets_errors.TokenNotVisible: Refusal(403),
    trusts_errors.TrustAlreadyExists: Refusal(409),
    trusts_errors.TrustNotFound: Refusal(
        None, "Cannot find trust relationship by id: ", "Can not found wallet_trust by id:"
    ),
    trusts_errors.TrustNotAnswerable: Refusal(
        404, "No such trust relationship exists or it is not associated with the current wallet."
    ),
    transfers_errors.InsufficientTokens: Refusal(409),
    transfers_errors.TokenElsewhere: Refusal(None, "does not belong to the sender", "do not belongs to sender"),
    transfers_errors.ChosenTokenElsewhere: Refusal(text="the token:{token_id} does not belong to the sender wallet"),
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
    transfers_errors.RowInvalid: Refusal(None, r"\g<0>.", r"^sender_wallet is required for transfer$"),
}
_NOT_YOURS: Final = Refusal(
    422, "You do not have permission to update this wallet", told_as=wallets_errors.WalletNotControlled
)
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

# Fields of answers that list errors.
LISTED: Final[Mapping[str, Mapping[str, type[DomainError]]]] = {
    "BatchViewSet.create_wallets": {"wallets_already_exists": wallets_errors.WalletNameTaken},
}

# A missing or invalid bearer token, and the message about a missing one.
BEARER_REFUSED: Final = 401
BEARER_MISSING: Final = "ERROR: Authentication, no token supplied for protected path"


def is_v2(request: HttpRequest | Request) -> bool:
    """Return whether the URL conf found the path of the request below the prefix."""
    match = request.resolver_match
    return match is not None and NAMESPACE in match.namespaces


def _retold(found: Refusal, message: str, **values: object) -> str:
    return message if found.text is None else re.sub(found.pattern, found.text.format(**values), message, count=1)


def _found(action: str, kind: type[DomainError]) -> Refusal | None:
    tables = (REFUSALS_OF.get(action, {}), REFUSALS)
    return next((table[each] for table in tables for each in kind.__mro__ if each in table), None)


def _of_one_row(error: DomainError) -> DomainError:
    """A batch with one refused row is answered as if that row were sent alone."""
    if isinstance(error, transfers_errors.RowsRefused) and len(error.problems) == 1:
        [error] = error.problems.values()
    return error


def refusal(action: str, error: DomainError, *, status: int, message: str) -> tuple[int, str]:
    """Return status and message of an error below `/wallet/v2`, from those of the first version."""
    error = _of_one_row(error)
    found = _found(action, type(error))
    return (status, message) if found is None else (found.status or status, _retold(found, message, **vars(error)))


def told_as(action: str, error: DomainError) -> type[DomainError] | None:
    """Return the class of whose code the answer below `/wallet/v2` has, or None for that of the error itself."""
    found = _found(action, type(_of_one_row(error)))
    return found and found.told_as


def status_of(kind: type[DomainError]) -> int | None:
    """Return the status of an error below `/wallet/v2` in most actions, or None for that of the first version."""
    found = _found("", kind)
    return found and found.status


def statuses_of_actions(kind: type[DomainError]) -> list[int]:
    """Return the statuses of an error in single actions below `/wallet/v2` that are told as this class."""
    return [
        found.status
        for table in REFUSALS_OF.values()
        for each, found in table.items()
        if found.status is not None and (found.told_as or each) is kind
    ]


def invalid(action: str, message: str) -> str:
    """Return the message of an invalid request below `/wallet/v2`, from that of the first version."""
    for text, other in INVALID.get(action, {}).items():
        message = message.replace(text, other)
    return message


def success(action: str, status: int, body: Any) -> tuple[int, Any]:
    """Return status and body of a successful answer below `/wallet/v2`, from those of the first version."""
    is_dry_run = isinstance(body, Mapping) and "dry_run" in body
    if action in CREATES and status == 200 and not is_dry_run:
        status = 201
    if isinstance(body, Mapping) and (action in RENAMED or action in REPLACED):
        names, values = RENAMED.get(action, {}), REPLACED.get(action, {})
        body = {names.get(name, name): values.get(name, value) for name, value in body.items()}
        for name, kind in LISTED.get(action, {}).items():
            body[name] = [_retold(REFUSALS[kind], text) for text in body[name]]
    return status, body
