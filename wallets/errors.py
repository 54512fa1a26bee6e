"""Refusals of the wallets app, and the base class of every refusal in Coppice."""


class DomainError(Exception):
    """
    A rule of the domain refused a call; nothing was changed.

    Each subclass stands in the `errors.py` of the app whose rule it is, and carries
    a sentence that may be shown to the caller. `config/api/errors.py` holds the one
    table from class to HTTP status; a test walks all subclasses and fails on one
    that the table does not name.
    """


class WalletNotFound(DomainError):
    """No wallet has this name or id. The sentence tells which of the two was looked for."""


class InvalidWalletName(DomainError):
    """The text holds white space or control characters, so it can never name a wallet."""


class MisleadingWalletName(InvalidWalletName):
    """The name could be taken for an id, or for another name: it holds a character that is not seen."""


class WalletNameTaken(DomainError):
    """Another wallet bears this name, perhaps in other letters of the same meaning."""


class WalletNameLength(DomainError):
    """The name of a new wallet is shorter than 3 or longer than 254 characters."""


class WalletNotControlled(DomainError):
    """The wallet exists, but the caller neither is it nor manages it."""


class InvalidPassword(DomainError):
    """A new password that the authentication endpoint could never accept."""


class InvalidCredentials(DomainError):
    """The password is wrong, or the wallet has none. Callers cannot tell which."""


class ApiKeyEnded(DomainError):
    """The API key with which a client came was revoked, or ran out, while its request was under way."""

    headers = {"WWW-Authenticate": "Treetracker-API-Key"}

    def __init__(self) -> None:
        super().__init__("Invalid API access, apiKey was deprecated")


class TokenNotFound(DomainError):
    """No token has this id."""


class TokenNotVisible(DomainError):
    """The token lies in a wallet that the caller neither is nor manages."""


class ApiKeyTaken(DomainError):
    """The same API key is registered already."""


class InvalidApiKey(DomainError):
    """An API key that was given by hand is too short to be a secret, or cannot be sent in a header."""


class KeyInUse(DomainError):
    """A request with the same idempotency key has not ended yet, or ended this very moment."""

    headers = {"Retry-After": "1"}

    def __init__(self) -> None:
        super().__init__("A request with this Idempotency-Key is still running")


class AlreadyDone(DomainError):
    """This confirmation has had its effect: it was sent twice. Carries the number of the operator's action."""


class AuditIsRunning(DomainError):
    """One audit at a time."""


class ChangedMeanwhile(DomainError):
    """What an operator confirmed is not what there is any more."""


class NotPossible(DomainError):
    """An operator's act does not fit what the object is now; the sentence says why."""
