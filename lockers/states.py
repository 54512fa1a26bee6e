"""
States of coins, lockers, tasks and payment requests, and every legal transition of a coin.

Pure values. The lists below are the only ones: models derive their constraints from them, and SQL its lists. A
reservation is not a state: a coin keeps its state while an open task holds it (`Coin.task`), so releasing it needs no
memory of the state before.
"""

from enum import StrEnum
from typing import Final


class CoinState(StrEnum):
    """Who holds the value of a coin, as far as 13 of 25 servers have confirmed it."""

    WAITING = "waiting"  # as INCOMING, not begun: another wallet's claim to the same coin is being decided first
    INCOMING = "incoming"  # imported or peeked, both secrets stored, not yet the wallet's
    BANK = "bank"  # authentic; no server refused it
    FRACKED = "fracked"  # authentic on at least 13 servers, refused by others
    LIMBO = "limbo"  # undecided: servers may hold either of two secrets, and both are kept
    COUNTERFEIT = "counterfeit"  # refused by more than 12 servers
    ERRORED = "errored"  # undecided: more than 12 servers answered with an error status
    LOCKED = "locked"  # in a locker that was filled here and may still hold it
    EXPORTED = "exported"  # in a file for its owner; the secrets are kept for fetching and recalling it
    SENT = "sent"  # left a locker or an exported file: taken by another owner, or back in a new row
    CHANGE = "change"  # one of the ten that a break requests; worth nothing until 13 servers confirm it
    BROKEN = "broken"  # broken into ten smaller coins; the row is kept as evidence
    VOID = "void"  # one of the ten of a break that was not carried out
    MISSED = "missed"  # another holder of the code took it first; it never was the wallet's


# Counted as balance, and may be put, transferred, exported or broken.
SPENDABLE: Final = (CoinState.BANK, CoinState.FRACKED)
# The transitions of a spendable coin, besides those between BANK and FRACKED.
_FROM_SPENDABLE: Final = frozenset(
    {
        CoinState.LOCKED,
        CoinState.EXPORTED,
        CoinState.SENT,
        CoinState.LIMBO,
        CoinState.COUNTERFEIT,
        CoinState.BROKEN,
    }
)
# Every legal transition. LOCKED, EXPORTED and SENT never become spendable again: a take or an import inserts a new row.
COIN_CHANGES: Final[dict[CoinState, frozenset[CoinState]]] = {
    CoinState.WAITING: frozenset({CoinState.INCOMING}),
    CoinState.INCOMING: frozenset(SPENDABLE)
    | {CoinState.LIMBO, CoinState.COUNTERFEIT, CoinState.ERRORED, CoinState.MISSED},
    CoinState.BANK: _FROM_SPENDABLE | {CoinState.FRACKED},
    CoinState.FRACKED: _FROM_SPENDABLE | {CoinState.BANK},
    CoinState.LIMBO: frozenset(SPENDABLE)
    | {
        CoinState.LOCKED,
        CoinState.SENT,
        CoinState.COUNTERFEIT,
        CoinState.ERRORED,
        CoinState.MISSED,
        CoinState.BROKEN,
    },
    CoinState.ERRORED: frozenset(SPENDABLE) | {CoinState.LIMBO, CoinState.COUNTERFEIT, CoinState.MISSED},
    CoinState.LOCKED: frozenset({CoinState.SENT}),
    CoinState.EXPORTED: frozenset({CoinState.SENT}),
    CoinState.CHANGE: frozenset(SPENDABLE) | {CoinState.VOID},
    # Final.
    CoinState.COUNTERFEIT: frozenset(),
    CoinState.SENT: frozenset(),
    CoinState.BROKEN: frozenset(),
    CoinState.VOID: frozenset(),
    CoinState.MISSED: frozenset(),
}

# At most one row of a coin in the whole ledger is in one of these states.
HELD: Final = (
    CoinState.INCOMING,
    CoinState.BANK,
    CoinState.FRACKED,
    CoinState.LIMBO,
    CoinState.ERRORED,
    CoinState.CHANGE,
)
# The servers have not confirmed the owner yet.
UNDECIDED: Final = (CoinState.INCOMING, CoinState.LIMBO, CoinState.ERRORED, CoinState.CHANGE)
# In a locker or a file that was made here and may still hold it. At most one row of a coin is in one of these states.
STORED: Final = (CoinState.LOCKED, CoinState.EXPORTED)
# Stored by a put: a coin that was taken out of the locker since is SENT.
IN_LOCKER: Final = (CoinState.LOCKED, CoinState.SENT)
# The state is unknown when a task ends: a find asks the servers again.
DOUBTFUL: Final = (CoinState.LIMBO, CoinState.ERRORED)


def may_become(old: CoinState, new: CoinState) -> bool:
    """Return whether a coin may change from `old` to `new`; no change is always legal."""
    return old is new or new in COIN_CHANGES[old]


def may_have_been(new: CoinState) -> tuple[CoinState, ...]:
    """Return all states from which `new` may be reached, `new` included: for the WHERE of a set-based update."""
    return tuple(old for old in CoinState if may_become(old, new))


class LockerState(StrEnum):
    """What is known of a locker that a wallet of this ledger filled."""

    FILLING = "filling"  # the put is open
    FILLED = "filled"  # at least 13 servers stored at least one coin
    UNKNOWN = "unknown"  # coins in limbo; a find decides
    FAILED = "failed"  # nothing was stored
    EMPTIED = "emptied"  # every coin was taken out


class TaskKind(StrEnum):
    PUT = "put"
    TAKE = "take"
    PEEK = "peek"
    IMPORT = "import"
    FIND = "find"
    BREAK = "break"
    FIX = "fix"
    HEALTH = "health"
    ECHO = "echo"
    # These two need no server unless a coin must be broken: the transaction that creates them completes them.
    EXPORT = "export"
    TRANSFER = "transfer"


class FileType(StrEnum):
    """The file type of an export."""

    BIN = "bin"
    PNG = "png"
    STACK = "stack"
    ZIP = "zip"


class LineType(StrEnum):
    """The type of a line of a wallet's statement; the values are those of the RAIDA protocol, section 9."""

    PUT_TO_LOCKER = "PutToLocker"
    GET_FROM_LOCKER = "GetFromLocker"
    IMPORTED = "Imported"
    EXPORTED = "Exported"
    TRANSFER_IN = "TransferIn"
    TRANSFER_OUT = "TransferOut"
    ADJUSTMENT = "Adjustment"  # the result of a find, fix or break


# Lines of a transfer, which both wallets may see.
BETWEEN_WALLETS: Final = (LineType.TRANSFER_IN, LineType.TRANSFER_OUT)


class TaskState(StrEnum):
    """The states of a task in the API. COMPLETED and ERROR are final."""

    RUNNING = "running"
    COMPLETED = "completed"
    ERROR = "error"


class PaymentRequestState(StrEnum):
    """The states of a payment request. PAID, CANCELLED and EXPIRED are final."""

    OPEN = "open"
    PARTLY_PAID = "partly_paid"
    PAID = "paid"
    CANCELLED = "cancelled"
    EXPIRED = "expired"


# A payment may begin.
PAYABLE: Final = (PaymentRequestState.OPEN, PaymentRequestState.PARTLY_PAID)


class PaymentMode(StrEnum):
    SINGLE = "single"  # each payment is of all that is outstanding
    PARTIAL = "partial"  # payments may be of any part of it


class PaymentState(StrEnum):
    PENDING = "pending"  # its task is open, or left coins in limbo
    CREDITED = "credited"
    FAILED = "failed"  # nothing arrived


class Step(StrEnum):
    """
    The step of a task that a worker begins next; each step may run twice.

    The order is that of a put; other kinds skip steps.
    """

    RESERVED = "reserved"
    READING = "reading"
    WAITING = "waiting"
    PEEKING = "peeking"
    FINDING = "finding"
    BREAKING = "breaking"
    HEALING = "healing"
    SENDING = "sending"
    ASKING = "asking"
    RETURNING = "returning"
    CHECKING = "checking"
    RELEASING = "releasing"
    DONE = "done"


class Mark:
    """
    What one server is known to hold of one coin while a task is open: a letter of `Coin.outcome`.

    The old and the new secret are: in a put the coin's authenticity number and the locker's key; in a take the key and
    a fresh number; in an import the file's number and a fresh one; in a fix the number that the server holds and the
    one that the fix gives it. In a break the old side is the whole coin, and the new side its ten.
    """

    UNASKED: Final = "-"  # no request that could change the coin was sent
    SENT: Final = "n"  # a request was sent and no answer is known: either secret
    NEW: Final = "p"  # the server confirmed the new secret
    REFUSED: Final = "f"  # the server refused the request and changed nothing
    GONE: Final = "g"  # asked after a timeout, it held neither secret: another holder of the code took the coin
    NEITHER: Final = "x"  # checked at the end, it did not hold the old secret
    OLD: Final = "o"  # asked after a timeout, it held the old secret; a delayed request may still change that
    KEPT: Final = "r"  # the old secret, and no request in flight could change it
    ERROR: Final = "e"  # an error status
    UNREADABLE: Final = "b"  # the server could not decrypt the request, and changed nothing
    UNREACHED: Final = "d"  # the connection failed before the first byte
