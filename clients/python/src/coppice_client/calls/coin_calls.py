"""Lockers and coins."""

from collections.abc import Callable, Sequence
from datetime import datetime

from coppice_client.calls.describing import CoinAmount, amount_text, content, get, given, path_of, write
from coppice_client.exchange import Call, Exchange, Listing, Waiting, from_json, time_text
from coppice_client.exchange import idempotency_key as checked_key
from coppice_client.types import (
    CoinWallet,
    CoinWalletWithTransactions,
    Export,
    FileType,
    Locker,
    LockerCode,
    Receipt,
    StartedTask,
    StatementLine,
    Task,
)

# The name of the caller's own wallet below /api/.
OWN = "Default"


def put(
    amount: CoinAmount,
    *,
    wallet: str = OWN,
    tag: str | None = None,
    transmit_code: str | None = None,
    expires_at: datetime | None = None,
    idempotency_key: str | None = None,
) -> Call[StartedTask]:
    """
    Begin to put coins into a locker. Without `transmit_code` the server makes one.

    What is still in it at `expires_at`, from 5 minutes to 366 days ahead, is taken back into the wallet. The task's
    `data` has the code, or a `locker_id` if it was shown before: see `locker_code`.
    """
    body = given(
        name=wallet,
        amount=amount_text(amount),
        tag=tag,
        transmit_code=transmit_code,
        expires_at=None if expires_at is None else time_text(expires_at),
    )
    return write("POST", "/api/v1/locker", key=idempotency_key, body=body)


def peek(transmit_code: str, *, idempotency_key: str | None = None) -> Call[StartedTask]:
    """Begin to look into a locker. Nothing is taken."""
    return write("POST", "/api/v1/locker/peek", key=idempotency_key, body={"transmit_code": transmit_code})


def take(
    transmit_code: str, *, wallet: str = OWN, tag: str | None = None, idempotency_key: str | None = None
) -> Call[StartedTask]:
    """Begin to take the coins out of a locker."""
    body = given(name=wallet, transmit_code=transmit_code, tag=tag)
    return write("POST", "/api/v1/locker/take", key=idempotency_key, body=body)


def lockers(*, page_size: int = 100) -> Listing[Locker]:
    """Lockers that the caller, or a wallet that it manages, has filled."""
    return Listing("/api/v1/lockers", "lockers", limit=page_size)


def locker_code(locker_id: str, *, idempotency_key: str | None = None) -> Call[LockerCode]:
    """The transmit code of a filled locker."""
    return write("POST", "/api/v1/lockers", locker_id, "/code", key=idempotency_key)


def task(task_id: str) -> Call[Task]:
    return get("/api/v1/task", task_id)


def wait(task_id: str, *, on_progress: Callable[[Task], object] | None = None, seconds: float | None = None) -> Waiting:
    """
    Wait until a task has ended, and return it. Without `seconds` there is no limit.

    :raises TaskFailed: it ended with an error
    :raises TaskTimeout: it did not end in time; it goes on
    """
    return Waiting(task_id, task(task_id), on_progress, seconds)


def receipt(receipt_id: str) -> Call[Receipt]:
    """The result of a task for each coin."""
    return get("/api/v1/receipts", receipt_id)


def coin_wallets() -> Call[list[CoinWallet]]:
    """The coins of the caller's wallet and of those that it manages."""
    return Call(Exchange("GET", "/api/v1/wallets"), lambda response: list(from_json(response)["wallets"]))


def coin_wallet(name: str = OWN) -> Call[CoinWalletWithTransactions]:
    """The coins of a wallet, and the newest lines of its statement."""
    return get("/api/v1/wallets", name)


def statement(name: str = OWN, *, page_size: int = 100) -> Listing[StatementLine]:
    """The statement of a wallet's coins, the newest line first."""
    return Listing(path_of("/api/v1/wallets", name, "/statement"), "transactions", limit=page_size)


def import_coins(
    files: Sequence[tuple[str, bytes]],
    *,
    wallet: str = OWN,
    tag: str | None = None,
    idempotency_key: str | None = None,
) -> Call[StartedTask]:
    """Begin to import files of coins, each a name and its content. Afterwards the files are worthless."""
    exchange = Exchange(
        "POST",
        "/api/v1/import",
        form=given(name=wallet, tag=tag),
        files=[("file", each) for each in files],
        key=checked_key(idempotency_key),
    )
    return Call(exchange)


def export_coins(
    amount: CoinAmount | None,
    *,
    type: FileType = "bin",  # noqa: A002 - the name of the field
    wallet: str = OWN,
    tag: str | None = None,
    idempotency_key: str | None = None,
) -> Call[StartedTask]:
    """
    Move coins of a wallet into a file, or all of them if `amount` is None.

    The export has the id of the task. Fetch its file with `export_file`, and confirm once it is stored.
    """
    what = {"all": True} if amount is None else {"amount": amount_text(amount)}
    body = given(name=wallet, **what, tag=tag, type=type)
    return write("POST", "/api/v1/export", key=idempotency_key, body=body)


def exports(*, page_size: int = 100) -> Listing[Export]:
    return Listing("/api/v1/exports", "exports", limit=page_size)


def export(export_id: str) -> Call[Export]:
    return get("/api/v1/exports", export_id)


def export_file(export_id: str) -> Call[bytes]:
    """The file of an export, until its arrival is confirmed. Anyone who has it can import the coins."""
    return Call(Exchange("GET", path_of("/api/v1/exports", export_id, "/file")), content)


def confirm_export(export_id: str, *, idempotency_key: str | None = None) -> Call[Export]:
    """Confirm that the file of an export arrived: it is not served again."""
    return write("POST", "/api/v1/exports", export_id, "/confirm", key=idempotency_key)


def recall_export(export_id: str, *, idempotency_key: str | None = None) -> Call[StartedTask]:
    """Begin to take the coins of an export back, which makes its file worthless."""
    return write("POST", "/api/v1/exports", export_id, "/recall", key=idempotency_key)


def move_coins(
    amount: CoinAmount, *, sender: str, receiver: str, tag: str | None = None, idempotency_key: str | None = None
) -> Call[StartedTask]:
    """Move coins to another wallet of the installation."""
    body = given(srcname=sender, dstname=receiver, amount=amount_text(amount), tag=tag)
    return write("POST", "/api/v1/transfer", key=idempotency_key, body=body)


def fix_coins(wallet: str = OWN, *, idempotency_key: str | None = None) -> Call[StartedTask]:
    """Begin to fix coins that some servers do not accept."""
    return write("POST", "/api/v1/fix", key=idempotency_key, body={"name": wallet})


def find_coins(wallet: str = OWN, *, idempotency_key: str | None = None) -> Call[StartedTask]:
    """Begin to look for coins whose state is unknown."""
    return write("POST", "/api/v1/find", key=idempotency_key, body={"name": wallet})


def check_coins(wallet: str = OWN, *, idempotency_key: str | None = None) -> Call[StartedTask]:
    """Begin to ask which servers accept the coins of a wallet."""
    return write("POST", "/api/v1/health", key=idempotency_key, body={"name": wallet})
