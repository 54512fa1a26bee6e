"""Errors that the lockers app raises to refuse a call; `config/api/error_codes.py` has their codes and statuses."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Final

from wallets.errors import DomainError


class LockerError(DomainError):
    """A rule of the lockers app refused a call. `extra` are further fields of the response body."""

    def __init__(self, message: str, **extra: Any) -> None:
        super().__init__(message)
        self.extra: dict[str, Any] = extra


class LockersOff(LockerError):
    """No RAIDA servers are configured (`COPPICE_RAIDA_HOSTS`), so lockers are not offered."""

    def __init__(self) -> None:
        super().__init__("Lockers are switched off on this server")


class InvalidLockerRequest(LockerError):
    """A field has the wrong shape."""


# The messages about a text that cannot be a code.
NO_CODE: Final = "A transmit code is text in UTF-8 without NUL, and not empty"
NO_NEW_CODE: Final = "The transmit code of a new locker is printable ASCII text, and not empty"


class MissingParameter(LockerError):
    """A required parameter is missing (seed 001)."""

    def __init__(self, name: str) -> None:
        super().__init__(f"Missing required parameter: {name}")


class TaskNotFound(LockerError):
    def __init__(self) -> None:
        super().__init__("There is no task with that id")


class ReceiptNotFound(LockerError):
    def __init__(self) -> None:
        super().__init__("There is no receipt with that id")


class LockerNotFound(LockerError):
    def __init__(self) -> None:
        super().__init__("There is no locker with that id")


class LockerNotFilled(LockerError):
    """The locker is not known to hold coins, so its code is not shown."""

    def __init__(self, state: str) -> None:
        super().__init__(f"The code of a locker is given only while coins are in it; this one is {state}")


class ExpiryOutOfRange(LockerError):
    """A locker may not expire so soon, or so late."""


class NotEnoughCoins(LockerError):
    """The wallet's free coins are worth less than the amount."""


class NoExactChange(LockerError):
    """The free coins are worth enough, and no set of them makes the amount exactly."""


class CoinsBusy(LockerError):
    """Other tasks or transactions hold the coins that this call needs."""


class TooManyTasks(LockerError):
    """The wallet has the maximum number of open tasks."""

    headers: Mapping[str, str] = {"Retry-After": "2"}

    def __init__(self, limit: int) -> None:
        super().__init__(f"At most {limit} tasks of a wallet are open at once; try again when some have ended")


class TooManyWaiting(LockerError):
    """The maximum number of calls of the wallet wait for a result."""

    headers: Mapping[str, str] = {"Retry-After": "1"}

    def __init__(self, limit: int) -> None:
        super().__init__(
            f"At most {limit} calls of a wallet may wait for the result at once; start a task and poll it instead"
        )


class TooManyWrongCodes(LockerError):
    """The wallet or the address has sent too many codes that open no locker."""

    def __init__(self, wait_seconds: int) -> None:
        super().__init__("Too many wrong transmit codes, try again later")
        self.headers: Mapping[str, str] = {"Retry-After": str(wait_seconds)}


class NothingToImport(LockerError):
    """No file held a coin that could be imported; `extra` has each file's outcome."""


class ImportUnderWay(NothingToImport):
    """Another task of the wallet has claimed the coins; the import may succeed after that task has ended."""

    headers: Mapping[str, str] = {"Retry-After": "5"}


class NothingToFix(LockerError):
    """Every free coin of the wallet is accepted by all servers."""


class NothingToFind(LockerError):
    """No coin of the wallet is in limbo."""


class SameWallets(LockerError):
    """Source and destination are the same wallet."""

    def __init__(self) -> None:
        super().__init__("Cannot move coins from a wallet to itself")


class ReceiverNotTrusting(LockerError):
    """No trust lets the sender push coins to the receiver."""

    def __init__(self, source: str, destination: str) -> None:
        super().__init__(
            f"The wallet {destination} has not agreed to receive from {source}: that needs a trust of the two,"
            " or put the coins into a locker and give its code to the owner"
        )


class ExportNotFound(LockerError):
    def __init__(self) -> None:
        super().__init__("There is no export with that id")


class ExportConfirmed(LockerError):
    """The arrival of the file was confirmed, so it is not served again."""

    def __init__(self) -> None:
        super().__init__("The arrival of this file was confirmed, so it is not served again")


class ExportReturned(LockerError):
    """Coins of the file were imported or recalled here, so the file is worth less than it says."""

    def __init__(self) -> None:
        super().__init__("Coins of this file are in a wallet of this service again, or on the way into one")


@dataclass(frozen=True, slots=True)
class Disagreement:
    """The servers' answers when fewer than 13 did what was requested (seed 001), and the task with the details."""

    locker_key: str = field(repr=False)
    successes: int
    status: int
    detail: str
    task_id: str = ""
    task_message: str = ""
    # 13 servers answered that the code opens no locker: not a network failure.
    is_refusal: bool = False


class ServersDisagreed(LockerError):
    """
    A network failure, a wrong code or an emptied locker: the servers do not report which.

    `is_refusal` is true if enough servers answered to rule out a network failure.
    """

    def __init__(self, message: str, how: Disagreement) -> None:
        self.is_refusal = how.is_refusal
        fields: dict[str, Any] = {
            "locker_key": how.locker_key,
            "raida_success": how.successes,
            "raida_status_code": how.status,
            "detail": how.detail,
        }
        if how.task_id:
            fields |= {"task_id": how.task_id, "task_message": how.task_message}
        super().__init__(message, **fields)


class PeekFailed(ServersDisagreed):
    def __init__(self, *, locker_key: str, successes: int, status: int, detail: str, is_refusal: bool = False) -> None:
        how = Disagreement(locker_key, successes, status, detail, is_refusal=is_refusal)
        super().__init__("Locker peek failed", how)


class UploadFailed(ServersDisagreed):
    """No coin is known to be stored; the task reports where the coins are."""

    def __init__(self, how: Disagreement) -> None:
        super().__init__("Locker upload failed", how)


class UploadUnknown(ServersDisagreed):
    """Some coins are in limbo: they may be in the locker."""

    def __init__(self, how: Disagreement) -> None:
        super().__init__("The result of the locker upload is not known yet: do not repeat it, poll its task", how)


class DownloadFailed(ServersDisagreed):
    """No coin is known to be taken; the task reports where the coins are."""

    def __init__(self, how: Disagreement) -> None:
        super().__init__("Locker download failed", how)


class PaymentRequestNotFound(LockerError):
    def __init__(self) -> None:
        super().__init__("There is no payment request with that id")


class PaymentNotFound(LockerError):
    def __init__(self) -> None:
        super().__init__("There is no payment with that id")


class PaymentRequestClosed(LockerError):
    """The payment request was paid, cancelled or expired."""

    def __init__(self, state: str) -> None:
        super().__init__(f"This payment request is {state}: it cannot be paid or cancelled any more")


class PaymentAmountRefused(LockerError):
    """The amount is not what the payment request asks for."""


class PaymentInProgress(LockerError):
    """Payments that have not ended yet cover the rest of the amount."""

    headers: Mapping[str, str] = {"Retry-After": "5"}

    def __init__(self) -> None:
        super().__init__("Another payment of this request has not ended yet; look again before you pay")


class TooManyPayments(LockerError):
    """The maximum number of payments to the payee by transmit codes has not ended yet."""

    headers: Mapping[str, str] = {"Retry-After": "10"}

    def __init__(self, limit: int) -> None:
        super().__init__(f"At most {limit} payments by transmit codes to a wallet are open at once; try again later")


class PaymentExpiryPassed(LockerError):
    """A payment request cannot expire before it is created."""

    def __init__(self) -> None:
        super().__init__('"expires_at" must be in the future')


class TaskSuperseded(Exception):
    """Another worker has taken over the task: the present one stops and writes nothing more."""
