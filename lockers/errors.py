"""Refusals of the lockers app. The HTTP status of each stands in `config/api/errors.py`."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Final

from wallets.errors import DomainError


class LockerError(DomainError):
    """A rule of the lockers app refused a call. `extra` are further fields of the answer's body."""

    def __init__(self, message: str, **extra: Any) -> None:
        super().__init__(message)
        self.extra: dict[str, Any] = extra


class LockersOff(LockerError):
    """No RAIDA servers are named (`COPPICE_RAIDA_HOSTS`), so nothing of lockers is offered."""

    def __init__(self) -> None:
        super().__init__("Lockers are switched off on this server")


class InvalidLockerRequest(LockerError):
    """A field has the wrong shape."""


# What is said of a text that can never be a code.
NO_CODE: Final = "A transmit code is text in UTF-8 without NUL, and not empty"
NO_NEW_CODE: Final = "The transmit code of a new locker is printable ASCII text, and not empty"


class MissingParameter(LockerError):
    """A parameter that the endpoint needs is not there (seed 001)."""

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
    """Nothing is known to be in the locker, so its code is not given out."""

    def __init__(self, state: str) -> None:
        super().__init__(f"The code of a locker is given only while coins are in it; this one is {state}")


class NotEnoughCoins(LockerError):
    """The wallet's free coins are worth less than the amount."""


class NoExactChange(LockerError):
    """There is enough value, and no set of free coins makes the amount exactly."""


class CoinsBusy(LockerError):
    """Other tasks hold, or are just choosing, the coins that this call needs."""


class TooManyTasks(LockerError):
    """The wallet has as many open tasks as it may have."""

    headers: Mapping[str, str] = {"Retry-After": "2"}

    def __init__(self, limit: int) -> None:
        super().__init__(f"At most {limit} tasks of a wallet are open at once; try again when some have ended")


class TooManyWaiting(LockerError):
    """As many calls of the wallet wait for their end as may."""

    headers: Mapping[str, str] = {"Retry-After": "1"}

    def __init__(self, limit: int) -> None:
        super().__init__(
            f"At most {limit} calls of a wallet wait for their end at once; begin a task instead, and ask for it"
        )


class TooManyWrongCodes(LockerError):
    """The wallet or the address has sent too many codes that open nothing."""

    def __init__(self, wait_seconds: int) -> None:
        super().__init__("Too many wrong transmit codes, try again later")
        self.headers: Mapping[str, str] = {"Retry-After": str(wait_seconds)}


class NothingToImport(LockerError):
    """No file held a coin that could be imported; `extra` tells each file's outcome."""


class ImportUnderWay(NothingToImport):
    """Another task of the wallet has yet to find out about the coins; the same import may succeed when it has."""

    headers: Mapping[str, str] = {"Retry-After": "5"}


class NothingToFix(LockerError):
    """Every free coin of the wallet is accepted by all servers."""


class NothingToFind(LockerError):
    """No coin of the wallet is in limbo."""


class SameWallets(LockerError):
    """Coins cannot be moved from a wallet to itself."""

    def __init__(self) -> None:
        super().__init__("Cannot move coins from a wallet to itself")


class ReceiverNotTrusting(LockerError):
    """The receiver has not agreed to be given coins by the sender."""

    def __init__(self, source: str, destination: str) -> None:
        super().__init__(
            f"The wallet {destination} has not agreed to receive from {source}: that needs a trust of the two,"
            " or put the coins into a locker and give its code to the owner"
        )


class ExportNotFound(LockerError):
    def __init__(self) -> None:
        super().__init__("There is no export with that id")


class ExportConfirmed(LockerError):
    """The file was confirmed to have arrived, and is not given out again."""

    def __init__(self) -> None:
        super().__init__("This file was confirmed to have arrived, and is not given out again")


class ExportReturned(LockerError):
    """Coins of the file came back, so that it is worth less than it says, or nothing."""

    def __init__(self) -> None:
        super().__init__("Coins of this file came back into a wallet of this service, or are just doing so")


@dataclass(frozen=True, slots=True)
class Disagreement:
    """What the servers said when no 13 of them did what was asked (seed 001), and which task knows more."""

    locker_key: str = field(repr=False)
    successes: int
    status: int
    detail: str
    task_id: str = ""
    task_message: str = ""
    # Enough servers answered that the code opens nothing: no trouble of theirs or ours.
    is_refusal: bool = False


class ServersDisagreed(LockerError):
    """
    Network trouble, a wrong code or an emptied locker: the servers do not say which.

    `is_refusal` is true if enough of them answered to know that it is no trouble of the network.
    """

    def __init__(self, message: str, how: Disagreement) -> None:
        self.is_refusal = how.is_refusal
        told: dict[str, Any] = {
            "locker_key": how.locker_key,
            "raida_success": how.successes,
            "raida_status_code": how.status,
            "detail": how.detail,
        }
        if how.task_id:
            told |= {"task_id": how.task_id, "task_message": how.task_message}
        super().__init__(message, **told)


class PeekFailed(ServersDisagreed):
    def __init__(self, *, locker_key: str, successes: int, status: int, detail: str, is_refusal: bool = False) -> None:
        how = Disagreement(locker_key, successes, status, detail, is_refusal=is_refusal)
        super().__init__("Locker peek failed", how)


class UploadFailed(ServersDisagreed):
    """Nothing was stored for certain; the task says where the coins are. With `is_unknown` the locker may hold them."""

    def __init__(self, how: Disagreement, *, is_unknown: bool = False) -> None:
        unknown = "Locker upload not settled yet: do not repeat it, ask for its task"
        super().__init__(unknown if is_unknown else "Locker upload failed", how)


class DownloadFailed(ServersDisagreed):
    """Nothing was taken for certain; the task says where the coins are."""

    def __init__(self, how: Disagreement) -> None:
        super().__init__("Locker download failed", how)


class TaskSuperseded(Exception):
    """Another worker took the task over: whoever sees this stops at once and writes nothing more."""
