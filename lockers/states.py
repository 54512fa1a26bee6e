"""
What a coin, a locker and a task may be, and every legal change of it.

Pure values: `operations` and `settlement` ask here, and the database repeats the list of
states as constraints. A reservation is no state: a coin keeps its grade while an open task
holds it (`Coin.task`), so that letting it go needs no memory of what it was before.
"""

from enum import StrEnum
from typing import Final


class CoinState(StrEnum):
    """Where the value of a coin is, as far as 13 of 25 servers told us."""

    WAITING = "waiting"  # as INCOMING, and not begun: another wallet's claim to the same coin is not decided yet
    INCOMING = "incoming"  # imported or peeked, both secrets saved, not yet ours
    BANK = "bank"  # authentic, no server refused it
    FRACKED = "fracked"  # authentic on at least 13 servers, refused by some
    LIMBO = "limbo"  # unknown: servers may hold either of two secrets, and both are kept
    COUNTERFEIT = "counterfeit"  # more than 12 servers said so themselves
    ERRORED = "errored"  # more than 12 servers answered with an error status
    LOCKED = "locked"  # stored in a locker that may still hold it
    EXPORTED = "exported"  # in a file that was made for its owner; the secrets are kept, to fetch or recall it
    SENT = "sent"  # left a locker or a file of ours for somebody else, or came back as a new row
    CHANGE = "change"  # one of ten that a break may bring into being; worth nothing until 13 servers say that it did
    BROKEN = "broken"  # broken into ten smaller coins; kept as evidence
    VOID = "void"  # one of ten of a break that did not happen
    MISSED = "missed"  # somebody else emptied the locker first; it never was ours


# Every legal change, and no other. LOCKED, EXPORTED, SENT and the like never return to a wallet by a
# change of state: whoever takes a coin out of a locker or imports a file gets a row of their own.
COIN_CHANGES: Final[dict[CoinState, frozenset[CoinState]]] = {
    CoinState.WAITING: frozenset({CoinState.INCOMING}),
    CoinState.INCOMING: frozenset(
        {
            CoinState.BANK,
            CoinState.FRACKED,
            CoinState.LIMBO,
            CoinState.COUNTERFEIT,
            CoinState.ERRORED,
            CoinState.MISSED,
        }
    ),
    CoinState.BANK: frozenset(
        {
            CoinState.FRACKED,
            CoinState.LOCKED,
            CoinState.EXPORTED,
            CoinState.SENT,
            CoinState.LIMBO,
            CoinState.COUNTERFEIT,
            CoinState.BROKEN,
        }
    ),
    CoinState.FRACKED: frozenset(
        {
            CoinState.BANK,
            CoinState.LOCKED,
            CoinState.EXPORTED,
            CoinState.SENT,
            CoinState.LIMBO,
            CoinState.COUNTERFEIT,
            CoinState.BROKEN,
        }
    ),
    CoinState.LIMBO: frozenset(
        {
            CoinState.BANK,
            CoinState.FRACKED,
            CoinState.LOCKED,
            CoinState.SENT,
            CoinState.COUNTERFEIT,
            CoinState.ERRORED,
            CoinState.MISSED,
            CoinState.BROKEN,
        }
    ),
    CoinState.ERRORED: frozenset(
        {CoinState.BANK, CoinState.FRACKED, CoinState.LIMBO, CoinState.COUNTERFEIT, CoinState.MISSED}
    ),
    CoinState.LOCKED: frozenset({CoinState.SENT}),
    CoinState.EXPORTED: frozenset({CoinState.SENT}),
    CoinState.COUNTERFEIT: frozenset(),
    CoinState.CHANGE: frozenset({CoinState.BANK, CoinState.FRACKED, CoinState.VOID}),
    CoinState.SENT: frozenset(),
    CoinState.BROKEN: frozenset(),
    CoinState.VOID: frozenset(),
    CoinState.MISSED: frozenset(),
}

# A coin is in one of these at most once in the whole ledger.
HELD: Final = (
    CoinState.INCOMING,
    CoinState.BANK,
    CoinState.FRACKED,
    CoinState.LIMBO,
    CoinState.ERRORED,
    CoinState.CHANGE,
)
# Of these the servers have yet to say whose they are.
UNDECIDED: Final = (CoinState.INCOMING, CoinState.LIMBO, CoinState.ERRORED, CoinState.CHANGE)
# What counts as balance, and may be put into a locker.
SPENDABLE: Final = (CoinState.BANK, CoinState.FRACKED)
# In a locker or a file of ours, which may still hold it. A coin is in one of these at most once, too.
STORED: Final = (CoinState.LOCKED, CoinState.EXPORTED)
# Stored by a put: a coin that was taken out of the locker since is SENT.
IN_LOCKER: Final = (CoinState.LOCKED, CoinState.SENT)
# The state is unknown when a task ends: a find asks the servers again.
DOUBTFUL: Final = (CoinState.LIMBO, CoinState.ERRORED)


def may_become(old: CoinState, new: CoinState) -> bool:
    """Whether a coin may change from `old` to `new`; to stay what it is, is always legal."""
    return old is new or new in COIN_CHANGES[old]


def may_have_been(new: CoinState) -> tuple[CoinState, ...]:
    """All states from which `new` may be reached, `new` itself included: for the WHERE of a set-based change."""
    return tuple(old for old in CoinState if may_become(old, new))


class LockerState(StrEnum):
    """What we know of a locker that a wallet of this ledger filled."""

    FILLING = "filling"  # intent committed, outcome not known yet
    FILLED = "filled"  # at least 13 servers stored at least one coin
    UNKNOWN = "unknown"  # coins in limbo; a find will tell
    FAILED = "failed"  # nothing was stored
    EMPTIED = "emptied"  # every coin of it left


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
    # These two talk to no server, unless to have a coin broken: they are completed by the transaction that begins them.
    EXPORT = "export"
    TRANSFER = "transfer"


class FileType(StrEnum):
    """What kind of file an export is."""

    BIN = "bin"
    PNG = "png"
    STACK = "stack"
    ZIP = "zip"


class LineType(StrEnum):
    """What a line of a wallet's statement says happened, in the words of the RAIDA protocol, section 9."""

    PUT_TO_LOCKER = "PutToLocker"
    GET_FROM_LOCKER = "GetFromLocker"
    IMPORTED = "Imported"
    EXPORTED = "Exported"
    TRANSFER_IN = "TransferIn"
    TRANSFER_OUT = "TransferOut"
    ADJUSTMENT = "Adjustment"  # coins found again, healed, broken, or seen to be lost


# Lines of a transfer: its task concerns two wallets.
BETWEEN_WALLETS: Final = (LineType.TRANSFER_IN, LineType.TRANSFER_OUT)


class TaskState(StrEnum):
    """The three words of the task resource. The last two are final."""

    RUNNING = "running"
    COMPLETED = "completed"
    ERROR = "error"


class Step(StrEnum):
    """
    Where a task stands; each step may run twice.

    The order is that of `put`; other kinds skip what they do not need.
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
    One server's part in one coin while a task is at work on it: a letter of `Coin.outcome`.

    OLD and NEW are the two secrets in play: in a put the coin's authenticity number and the
    locker's key, in a take the key and a fresh number, in an import the file's number and a
    fresh one, in a fix whatever the server holds and the number that the fix will give. In a
    break OLD is the broken coin whole, and NEW its ten pieces.
    """

    UNASKED: Final = "-"  # nothing that could change the coin was ever sent there
    SENT: Final = "n"  # something was sent and no answer is known: either secret
    NEW: Final = "p"  # the server said that it holds the new secret
    REFUSED: Final = "f"  # the server refused; what it holds is unchanged
    GONE: Final = "g"  # asked after silence, it held neither secret: whoever has the code was there
    NEITHER: Final = "x"  # checked at the end, it did not hold the old secret
    OLD: Final = "o"  # asked after silence, it held the old secret; a late packet might still change that
    KEPT: Final = "r"  # the old secret, and nothing is under way that could change it
    ERROR: Final = "e"  # an error status
    UNREADABLE: Final = "b"  # the server could not decrypt the request, and did nothing
    UNREACHED: Final = "d"  # provably not a byte was sent
