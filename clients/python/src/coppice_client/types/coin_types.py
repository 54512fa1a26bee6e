"""Bodies of answers about coins, lockers, tasks and payment requests."""

from decimal import Decimal
from typing import Any, Final, Literal, NotRequired, TypeAlias, TypedDict

TaskStatus: TypeAlias = Literal["running", "completed", "error"]
FileType: TypeAlias = Literal["bin", "png", "stack", "zip"]
PaymentRequestState: TypeAlias = Literal["open", "partly_paid", "paid", "cancelled", "expired"]
PaymentMode: TypeAlias = Literal["single", "partial"]
PaymentState: TypeAlias = Literal["credited", "pending", "failed"]
# A number of coins. A text stands for an amount that no JSON number represents exactly.
Amount: TypeAlias = int | float | str


def decimal_of(amount: Amount) -> Decimal:
    """Return an amount of coins as an exact number."""
    return Decimal(str(amount))


class ImportedFile(TypedDict):
    name: str
    accepted: int
    refused: int
    waiting: NotRequired[int]
    reason: NotRequired[str]
    note: NotRequired[str]
    refusals: NotRequired[list[dict[str, Any]]]


class Settled(TypedDict):
    """The later task that settled the coins that a task left unknown."""

    at: int
    task_id: str
    type: str


class Step(TypedDict):
    command: str
    batch: int
    asked: int
    answered: int
    done: bool


class StartedTask(TypedDict):
    """
    The answer to a call that begins a task. Wait for it with `wait`.

    An export and a transfer of coins may be completed at once, with `message` and `data`.
    """

    id: str
    status: TaskStatus
    progress: int
    warning: NotRequired[str]
    files: NotRequired[list[ImportedFile]]
    message: NotRequired[str]
    data: NotRequired[dict[str, Any]]


class Task(TypedDict):
    """A task. `data` is the result of a completed one, and `details` what is known of a failed one."""

    id: str
    type: str
    status: TaskStatus
    progress: int
    message: str
    started: int
    finished: int | None
    step: str
    steps: list[Step]
    # A letter for each of the 25 servers.
    raida: list[str]
    settled: NotRequired[Settled]
    data: NotRequired[dict[str, Any]]
    details: NotRequired[dict[str, Any]]


class ReceiptCoin(TypedDict):
    sn: int
    denomination: int
    value: Amount
    pown: str
    result: str
    result_at_first: NotRequired[str]


class Servers(TypedDict):
    """The number of servers that store the coins: of the coin with the fewest, and of that with the most."""

    fewest: int
    most: int


class LockerExpiry(TypedDict):
    """What is known now of the coins of a locker that expires."""

    expires_at: str
    outcome: str
    message: str
    returned: Amount
    returned_at: str | None
    taken: Amount
    not_known: Amount


class Receipt(TypedDict):
    receipt_id: str
    task_id: str
    type: str
    wallet: str
    tag: str
    status: TaskStatus
    message: str
    started: int
    finished: int | None
    expiry: NotRequired[LockerExpiry]
    coins: list[ReceiptCoin]
    settled: NotRequired[Settled]
    servers: NotRequired[Servers]


class Locker(TypedDict):
    id: str
    wallet: str
    state: str
    tag: str
    amount: Amount
    remaining: Amount
    coins: int
    created: int
    changed: int
    expiry: NotRequired[LockerExpiry]


class LockerCode(TypedDict):
    transmit_code: str


class Grade(TypedDict):
    coins: int
    total: Amount


class CoinWallet(TypedDict):
    """The coins of a wallet. `denominations` has the number of coins of each value."""

    name: str
    balance: Amount
    denominations: dict[str, int]
    contents: dict[str, Grade]


class StatementDetails(TypedDict):
    number: int
    task_id: str
    wallet: NotRequired[str]


class StatementLine(TypedDict):
    amount: Amount
    message: str
    type: str
    datetime: str
    receiptid: str
    details: StatementDetails
    running_balance: Amount


class CoinWalletWithTransactions(CoinWallet):
    """The coins of a wallet and the newest lines of its statement."""

    transactions: list[StatementLine]


class Export(TypedDict):
    id: str
    wallet: str
    type: FileType
    file: str
    tag: str
    amount: Amount
    coins: int
    remaining: Amount
    fetched: int
    confirmed: int | None
    created: int
    receipt_id: str


class Payment(TypedDict):
    """A payment of a payment request. It is final unless its state is `pending`."""

    id: str
    payment_request_id: str
    state: PaymentState
    amount: Amount
    pending: Amount
    method: Literal["wallet", "code"]
    payer: str | None
    is_late: bool
    message: str
    created_at: str
    settled_at: str | None


class PaymentRequest(TypedDict):
    """A request to be paid coins. Only who controls the payee gets `reference` and `payments`."""

    id: str
    wallet: str
    state: PaymentRequestState
    mode: PaymentMode
    amount: Amount
    paid: Amount
    pending: Amount
    outstanding: Amount
    description: str
    url: str
    created_at: str
    expires_at: str | None
    closed_at: str | None
    reference: NotRequired[str]
    payments: NotRequired[list[Payment]]


PAYMENT_REQUEST_STATES: Final[tuple[PaymentRequestState, ...]] = ("open", "partly_paid", "paid", "cancelled", "expired")
FILE_TYPES: Final[tuple[FileType, ...]] = ("bin", "png", "stack", "zip")
