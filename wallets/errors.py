"""Refusals of the wallets app, and the base class of every refusal in Coppice."""


class DomainError(Exception):
    """
    A rule of the domain refused a call; nothing was changed.

    Each subclass is defined in the `errors.py` of the app whose rule it is, and carries a sentence that may be shown to
    the caller. `config/api/error_codes.py` has the code and the HTTP status of each; a test fails if one is missing.
    """


class WalletNotFound(DomainError):
    """No wallet has this name or id. The sentence says which of the two was looked up."""


class InvalidWalletName(DomainError):
    """The text holds white space or control characters, so it can never name a wallet."""


class MisleadingWalletName(InvalidWalletName):
    """The name has the form of an id, or holds an invisible character and so looks like another name."""


class WalletNameTaken(DomainError):
    """Another wallet has this name, perhaps spelled with other characters of the same key."""


class WalletNameLength(DomainError):
    """The name of a new wallet is shorter than 3 or longer than 254 characters."""


class WalletNotControlled(DomainError):
    """The wallet exists, but the caller neither is it nor manages it."""


class NotAnImage(DomainError):
    """An uploaded image is no JPEG or PNG, or damaged."""

    def __init__(self) -> None:
        super().__init__("Only image files are supported.")


class TooManyPixels(DomainError):
    """An uploaded image would take too much memory when decoded."""

    def __init__(self, maximum: int) -> None:
        super().__init__(f"An image must have less than or equal to {maximum} pixels")


class ImageTooLarge(DomainError):
    """An uploaded image has too many bytes. Clients look for this message."""

    def __init__(self) -> None:
        super().__init__("File too large")


class ImageNotStored(DomainError):
    """The storage of images failed."""

    headers = {"Retry-After": "5"}

    def __init__(self) -> None:
        super().__init__("The image could not be stored, try again")


class InvalidPassword(DomainError):
    """A new password that the authentication endpoint does not accept."""


class WeakPassword(InvalidPassword):
    """A password that an owner chooses is too short, or is the name of the wallet or the present password."""


class WrongPassword(DomainError):
    """The password that an authenticated owner gave as the present one is wrong."""

    def __init__(self) -> None:
        super().__init__("The present password is wrong")


class SessionNotFound(DomainError):
    """The caller has no session of this id that is valid."""

    def __init__(self) -> None:
        super().__init__("There is no such session")


class RestrictedKeyNotFound(DomainError):
    """The wallet has no restricted key of this id."""

    def __init__(self) -> None:
        super().__init__("There is no such key")


class RestrictedKeyEnded(DomainError):
    """The restricted key of the request has ended while the request was processed."""

    headers = {"WWW-Authenticate": 'Bearer realm="coppice"'}

    def __init__(self) -> None:
        super().__init__("The key has ended")


class TooManyRestrictedKeys(DomainError):
    """The wallet has as many valid restricted keys as it may have."""

    def __init__(self, maximum: int) -> None:
        super().__init__(f"A wallet has at most {maximum} valid keys")


class KeyLimitExceeded(DomainError):
    """A transfer, or the transfers of the day, are above a limit of the restricted key."""


class ControlNeedsSession(DomainError):
    """A restricted key tried to give, take or end control of a wallet, which needs a session of the owner."""

    def __init__(self) -> None:
        super().__init__("A restricted key cannot change who manages a wallet; log in with the password")


class InvalidNetwork(DomainError):
    """A text is neither an address nor a network in CIDR notation."""

    def __init__(self, text: str) -> None:
        super().__init__(f"{text[:50]} is neither an address nor a network, such as 203.0.113.0/24")


class ContradictoryKey(DomainError):
    """The terms of a new restricted key contradict each other; the sentence says how."""


class InvalidCredentials(DomainError):
    """The password is wrong, or the wallet has none. Callers cannot tell which."""


class ApiKeyEnded(DomainError):
    """The client's API key was revoked, or expired, while its request was processed."""

    headers = {"WWW-Authenticate": "Treetracker-API-Key"}

    def __init__(self) -> None:
        super().__init__("Invalid API access, apiKey was deprecated")


class TokenNotFound(DomainError):
    """No token has this id."""


class TokenNotVisible(DomainError):
    """The token is in a wallet that the caller does not control."""


class ApiKeyTaken(DomainError):
    """The API key is registered already."""


class InvalidApiKey(DomainError):
    """An API key that an operator provides is too short to be a secret, or cannot be sent in a header."""


class KeyInUse(DomainError):
    """A request with the same idempotency key is still in flight, or has only just completed."""

    headers = {"Retry-After": "1"}

    def __init__(self) -> None:
        super().__init__("A request with this Idempotency-Key is still running")


class AlreadyDone(DomainError):
    """The confirmation was sent twice, and has had its effect. Carries the number of the operator's action."""


class AuditIsRunning(DomainError):
    """Another audit is running."""


class ChangedMeanwhile(DomainError):
    """The object changed since the confirmation page was rendered (stale confirmation)."""


class NotPossible(DomainError):
    """The object's present state does not allow the operator's action; the sentence says why."""
