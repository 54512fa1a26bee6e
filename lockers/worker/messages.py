"""
Build requests to 25 servers about a batch of coins, and read their answers.

Pure: no database and no sockets. Requests are `transport.Call`, answers `transport.Answer` or `transport.NoResponse`.
"""

from collections import Counter, deque
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass, field
from enum import StrEnum
from functools import lru_cache
from itertools import chain
from typing import Final, TypeVar
from uuid import UUID

from lockers.raida import payloads
from lockers.raida.coins import Coin
from lockers.raida.commands import Command
from lockers.raida.errors import WireError
from lockers.raida.statuses import QUORUM, RAIDA_COUNT, UNREADABLE, Status
from lockers.states import Mark
from lockers.transport import Answer, Call, NoResponse

Numbers = tuple[bytes, ...]
Results = Mapping[int, Answer | NoResponse]
# For each server the positions, in the batch, of the coins that it is asked about.
Targets = Mapping[int, tuple[int, ...]]


@dataclass(slots=True)
class CoinWork:
    """
    One coin of a batch with the two secrets in play, 25 numbers each.

    `marks` has one `states.Mark` per server and `pown` what was known before the task.
    """

    coin_id: UUID
    coin: Coin
    pown: str
    marks: str
    old: Numbers = field(repr=False)
    new: Numbers = field(repr=False)
    releasing: bool = False


class Reply(StrEnum):
    """The reply of one server about one coin."""

    PASS = "pass"  # noqa: S105 - a server's word
    FAIL = "fail"
    HAS_OLD = "has_old"
    HAS_NEW = "has_new"
    HAS_NEITHER = "has_neither"
    ERROR = "error"
    UNREADABLE = "unreadable"
    SILENT = "silent"
    UNREACHED = "unreached"


_FOUND: Final = {
    payloads.Found.NEITHER: Reply.HAS_NEITHER,
    payloads.Found.AN: Reply.HAS_OLD,
    payloads.Found.PAN: Reply.HAS_NEW,
}
# The coin has another number, a serial number is not free, or another client has reserved the page: nothing was done.
_CHANGE_REFUSALS: Final = frozenset(
    {
        Status.ALL_FAIL,
        Status.INVALID_SN_OR_DENOMINATION,
        Status.PAGE_IS_NOT_RESERVED,
        Status.SN_NOT_AVAILABLE,
    }
)
_SILENCES: Final = {"timeout": -2, "refused": -3, "network": -4, "mismatch": -5, "garbage": -6, "cancelled": -7}


def choose(pieces: Sequence[CoinWork], marks: Collection[str], *, known_good: bool = False) -> Targets:
    """
    Return, for each server, the coins that have one of `marks` there.

    With `known_good`, only coins that the server is known to accept: a server accepts or refuses a put as a whole.
    """
    # Most coins of a batch have the same marks, and most servers the same list.
    alike: dict[tuple[str, str], list[int]] = {}
    for index, piece in enumerate(pieces):
        alike.setdefault((piece.marks, piece.pown), []).append(index)
    asked = [
        (indices, [mark in marks and (not known_good or letter == "p") for mark, letter in zip(*kind, strict=True)])
        for kind, indices in alike.items()
    ]
    lists: dict[tuple[int, ...], tuple[int, ...]] = {}
    chosen: dict[int, tuple[int, ...]] = {}
    for raida in range(RAIDA_COUNT):
        kinds = tuple(number for number, (_, servers) in enumerate(asked) if servers[raida])
        if kinds not in lists:
            lists[kinds] = tuple(sorted(chain.from_iterable(asked[number][0] for number in kinds)))
        chosen[raida] = lists[kinds]
    return {raida: indices for raida, indices in chosen.items() if indices}


def compose(command: Command, pieces: Sequence[CoinWork], chosen: Targets, *, back: bool = False) -> Call:
    """
    Return the call that moves the chosen coins from the old secret to the new one, or asks about both.

    With `back`, a moving command goes from new to old. The coins of a put or a remove have one locker, and so one key
    for each server.
    """
    if command is Command.PUT:
        return Call(command=command, payloads=_puts(pieces, chosen))
    coins = [piece.coin.to_bytes() for piece in pieces]
    return Call(
        command=command,
        payloads={
            raida: _payload(command, pieces, coins, indices, raida, back=back) for raida, indices in chosen.items()
        },
    )


def _puts(pieces: Sequence[CoinWork], chosen: Targets) -> dict[int, bytes]:
    """Encode the list of coins once for all servers that get the same coins."""
    alike: dict[tuple[int, ...], list[int]] = {}
    for raida, indices in chosen.items():
        alike.setdefault(indices, []).append(raida)
    found: dict[int, bytes] = {}
    for indices, raidas in alike.items():
        chosen_pieces = [pieces[index] for index in indices]
        columns = list(zip(*(piece.old for piece in chosen_pieces), strict=True))
        found |= payloads.encode_put_to_each(
            [piece.coin for piece in chosen_pieces],
            {raida: columns[raida] for raida in raidas},
            {raida: chosen_pieces[0].new[raida] for raida in raidas},
        )
    return found


def _payload(
    command: Command,
    pieces: Sequence[CoinWork],
    coins: Sequence[bytes],
    indices: Sequence[int],
    raida: int,
    *,
    back: bool,
) -> bytes:
    old = [pieces[index].old[raida] for index in indices]
    new = [pieces[index].new[raida] for index in indices]
    if back:
        old, new = new, old
    listed = [coins[index] for index in indices]
    match command:
        case Command.REMOVE:
            return old[0] + payloads.encode_records(listed, new)
        case Command.POWN | Command.FIND:
            return payloads.encode_records(listed, old, new)
        case Command.DETECT:
            return payloads.encode_records(listed, old)
        case _:
            raise ValueError(f"{command} says nothing about coins")


Reader = Callable[[Command, Answer | NoResponse | None, int], tuple[Reply, ...]]


def replies(
    command: Command, chosen: Targets, results: Results, *, reads: Reader | None = None
) -> dict[int, tuple[Reply, ...]]:
    """
    Return what each server said about each of its chosen coins, in their order.

    `reads` reads the answer of one server about a number of coins, if it does not have one word per coin. A malformed
    answer counts as none: the command may have been carried out.
    """
    reads = reads or read
    return {raida: reads(command, results.get(raida), len(indices)) for raida, indices in chosen.items()}


def read(command: Command, result: Answer | NoResponse | None, count: int) -> tuple[Reply, ...]:
    """Return what an answer says about each of `count` coins."""
    if isinstance(result, Answer):
        return _read_answer(command, result.status, result.payload, count)
    return _alike(Reply.SILENT if result is None or result.sent else Reply.UNREACHED, count)


@lru_cache(maxsize=32)
def _alike(reply: Reply, count: int) -> tuple[Reply, ...]:
    return (reply,) * count


# Most servers send the same bytes, which are read at the quorum and again with all answers. They hold no secret.
@lru_cache(maxsize=32)
def _read_answer(command: Command, status: int, payload: bytes, count: int) -> tuple[Reply, ...]:
    try:
        match command:
            case Command.PUT:
                return _alike(Reply.PASS if payloads.decode_verdict(status, payload) else Reply.FAIL, count)
            case Command.REMOVE:
                passed = payloads.decode_remove_reply(status, payload, count=count)
            case Command.FIND:
                return tuple(_FOUND[one] for one in payloads.decode_find_reply(status, payload, count=count))
            case Command.BREAK | Command.JOIN:
                if status in _CHANGE_REFUSALS:
                    return _alike(Reply.FAIL, count)
                payloads.decode_done(status, payload)
                return _alike(Reply.PASS, count)
            case _:
                passed = payloads.decode_verdicts(status, payload, count=count)
    except WireError:
        if command is Command.REMOVE and status == Status.INVALID_ENCRYPTION:
            # The request was encrypted with a locker's key: there is no such locker.
            return _alike(Reply.FAIL, count)
        if status in UNREADABLE:
            return _alike(Reply.UNREADABLE, count)
        is_success = status in (Status.ALL_PASS, Status.ALL_FAIL, Status.MIXED, Status.SUCCESS)
        return _alike(Reply.SILENT if is_success else Reply.ERROR, count)
    return tuple(Reply.PASS if one else Reply.FAIL for one in passed)


def answer_code(result: Answer | NoResponse) -> int:
    """Return the status byte, or the negative number that `models.Attempt` stores for a missing answer."""
    return int(result.status) if isinstance(result, Answer) else _SILENCES[result.reason]


@dataclass(frozen=True, slots=True)
class Listing:
    """
    What the servers say that a locker holds: `coins` are those that at least 13 list.

    `listed` servers know the locker, `empty` ones do not, the others gave no usable answer. It `is_partial` if fewer
    than 13 servers list further coins, which the others may have forgotten.
    """

    coins: frozenset[Coin]
    listed: int
    empty: int
    statuses: tuple[int | None, ...]
    is_partial: bool = False
    # The code that opened the locker, if it differs from the code as typed.
    code_used: str | None = field(default=None, repr=False)


def listing(results: Results, *, quorum: int) -> Listing:
    """Count the answers to a peek. The order of a server's list, and repetitions, are ignored."""
    votes: dict[Coin, int] = {}
    listed = empty = 0
    # Most servers send the same bytes, which are parsed once.
    alike = Counter((result.status, result.payload) for result in results.values() if isinstance(result, Answer))
    for (status, payload), count in alike.items():
        if status == Status.INVALID_ENCRYPTION:
            # The request was encrypted with the locker's key: there is no such locker.
            empty += count
            continue
        try:
            coins = payloads.decode_peek_reply(status, payload)
        except WireError:
            continue
        if not coins:
            empty += count
            continue
        listed += count
        for coin in set(coins):
            votes[coin] = votes.get(coin, 0) + count
    return Listing(
        coins=frozenset(coin for coin, count in votes.items() if count >= quorum),
        listed=listed,
        empty=empty,
        statuses=tuple(_peek_code(results.get(raida)) for raida in range(RAIDA_COUNT)),
        is_partial=any(count < quorum for count in votes.values()),
    )


def _peek_code(result: Answer | NoResponse | None) -> int | None:
    if isinstance(result, Answer) and result.status == Status.INVALID_ENCRYPTION:
        return int(Status.ALL_FAIL)
    return None if result is None else answer_code(result)


def is_decided(results: Results, *, quorum: int) -> bool:
    """Return whether the outstanding answers to a peek cannot change what it lists."""
    outstanding = RAIDA_COUNT - len(results)
    if outstanding >= quorum:
        return False
    alike = Counter((result.status, result.payload) for result in results.values() if isinstance(result, Answer))
    if alike and alike.most_common(1)[0][1] >= quorum:
        # No other list can reach 13 votes; equal answers need not be parsed.
        return True
    votes: dict[Coin, int] = {}
    for result in results.values():
        for coin in _listed(result):
            votes[coin] = votes.get(coin, 0) + 1
    return all(count >= quorum or count + outstanding < quorum for count in votes.values())


def _listed(result: Answer | NoResponse) -> set[Coin]:
    if not isinstance(result, Answer):
        return set()
    try:
        return set(payloads.decode_peek_reply(result.status, result.payload))
    except WireError:
        return set()


# What replies make of the marks of coins.

Table = Mapping[tuple[str, Reply], str]
_T = TypeVar("_T")


def every(marks: str, replies: Mapping[Reply, str]) -> dict[tuple[str, Reply], str]:
    """Return a table in which each of the marks becomes the same by each reply."""
    return {(mark, reply): new for mark in marks for reply, new in replies.items()}


# What a reply makes of a mark; other pairs leave the mark unchanged.
MOVED: Final[Table] = every(
    Mark.UNASKED + Mark.SENT + Mark.OLD + Mark.UNREACHED,
    {
        Reply.PASS: Mark.NEW,
        Reply.FAIL: Mark.REFUSED,
        Reply.ERROR: Mark.ERROR,
        Reply.UNREADABLE: Mark.UNREADABLE,
        Reply.SILENT: Mark.SENT,
        Reply.UNREACHED: Mark.UNREACHED,
    },
)
# A command is repeated only where the server said that it holds the old number. If the repetition was never sent, the
# first request may still be in flight.
MOVED_AGAIN: Final[Table] = {**MOVED, (Mark.SENT, Reply.UNREACHED): Mark.OLD, (Mark.SENT, Reply.UNREADABLE): Mark.OLD}
ASKED: Final[Table] = {
    (Mark.SENT, Reply.HAS_OLD): Mark.OLD,
    (Mark.SENT, Reply.HAS_NEW): Mark.NEW,
    (Mark.SENT, Reply.HAS_NEITHER): Mark.GONE,
    (Mark.OLD, Reply.HAS_NEW): Mark.NEW,
    # A server that answered with an error has finished with the command.
    (Mark.ERROR, Reply.HAS_OLD): Mark.KEPT,
    (Mark.ERROR, Reply.HAS_NEW): Mark.NEW,
    (Mark.ERROR, Reply.HAS_NEITHER): Mark.GONE,
}
# As ASKED, when no command can be in flight any more.
FOUND: Final[Table] = {**ASKED, (Mark.SENT, Reply.HAS_OLD): Mark.KEPT, (Mark.OLD, Reply.HAS_OLD): Mark.KEPT}


def remark(
    pieces: Sequence[CoinWork], chosen: Targets, told: Mapping[int, Sequence[_T]], become: Callable[[str, _T], str]
) -> set[int]:
    """
    Set the marks of chosen coins to what `become` returns for the mark and what was said.

    Return the positions of the coins whose marks changed.
    """
    everyone = tuple(range(len(pieces)))
    nothing: list[_T | None] = [None] * len(pieces)
    columns: list[Sequence[_T | None]] = []
    for raida in range(RAIDA_COUNT):
        indices, words = chosen.get(raida, ()), told.get(raida, ())
        if indices == everyone:
            columns.append(words)
            continue
        column = nothing.copy() if indices else nothing
        for index, word in zip(indices, words, strict=True):
            column[index] = word
        columns.append(column)
    # Most servers say the same of all coins: each of these columns is read once.
    distinct = {id(column): column for column in columns}
    places = {identity: place for place, identity in enumerate(distinct)}
    place_of = [places[id(column)] for column in columns]
    # Most coins have the same marks and replies.
    known: dict[tuple[str, tuple[_T | None, ...]], str] = {}
    changed: set[int] = set()
    for index, (piece, heard) in enumerate(zip(pieces, zip(*distinct.values(), strict=True), strict=True)):
        if (piece.marks, heard) not in known:
            known[piece.marks, heard] = "".join(
                mark if (word := heard[place]) is None else become(mark, word)
                for mark, place in zip(piece.marks, place_of, strict=True)
            )
        marks = known[piece.marks, heard]
        if marks != piece.marks:
            piece.marks = marks
            changed.add(index)
    return changed


def remark_sent(pieces: Sequence[CoinWork], chosen: Targets) -> set[int]:
    """Set the marks of chosen coins to SENT; return the positions of the coins whose marks changed."""
    sent = {count: Mark.SENT * count for count in {*map(len, chosen.values())}}
    told = {raida: sent[len(indices)] for raida, indices in chosen.items()}
    return remark(pieces, chosen, told, lambda _, word: word)


def batch_marks(chosen: Targets, marks: Mapping[int, str]) -> str:
    return "".join(marks[raida] if raida in chosen else Mark.UNASKED for raida in range(RAIDA_COUNT))


def common_marks(pieces: Sequence[CoinWork], chosen: Targets) -> dict[int, str] | None:
    """Return the mark that all chosen coins have at each server, or None if they differ."""
    if len({piece.marks for piece in pieces}) == 1:
        return {raida: pieces[0].marks[raida] for raida in chosen}
    marks = {raida: {pieces[index].marks[raida] for index in indices} for raida, indices in chosen.items()}
    if any(len(each) > 1 for each in marks.values()):
        return None
    return {raida: each.pop() for raida, each in marks.items()}


def quorum_passed(
    command: Command, pieces: Sequence[CoinWork], chosen: Targets, reads: Reader | None
) -> Callable[[Results], bool]:
    """Return a function that counts answers and returns whether each chosen coin has passed on 13 servers."""
    asked: set[int] = set().union(*set(chosen.values()))
    passes = {index: pieces[index].marks.count(Mark.NEW) for index in asked}
    # Most servers are asked about all of these coins, and say the same of each: such answers are counted once.
    of_all = 0
    counted: set[int] = set()

    def enough(results: Results) -> bool:
        nonlocal of_all
        new = {raida: chosen[raida] for raida in results if raida in chosen and raida not in counted}
        counted.update(new)
        for raida, told in replies(command, new, results, reads=reads).items():
            if len(told) == len(asked) and len(set(told)) == 1:
                of_all += told[0] in _PASSED
                continue
            for index, reply in zip(chosen[raida], told, strict=True):
                passes[index] += reply in _PASSED
        return all(count + of_all >= QUORUM for count in passes.values())

    return enough


_PASSED: Final = (Reply.PASS, Reply.HAS_NEW)


def where(replies: Mapping[int, Mapping[int, Reply]], *wanted: Reply) -> Targets:
    """Return, for each server, the coins about which it gave one of the `wanted` replies."""
    found = {raida: tuple(index for index, reply in each.items() if reply in wanted) for raida, each in replies.items()}
    return {raida: indices for raida, indices in found.items() if indices}


# Requests that servers refuse because of one coin.

HALVED: Final = frozenset({Command.FIND, Command.DETECT})
# Requests after one that was refused: enough to find two coins in a thousand, or four in fifty. The remaining coins
# stay unanswered, as after a timeout.
MOST_HALVES: Final = 40

Replies = dict[int, tuple[Reply, ...]]


def refusing(results: Results) -> set[int]:
    """Return the servers that refused a request because of some coin in it."""
    return {
        raida
        for raida, result in results.items()
        if isinstance(result, Answer) and result.status == Status.INVALID_SN_OR_DENOMINATION
    }


def ask_in_halves(chosen: Targets, question: Callable[[Targets], tuple[Replies, set[int]]]) -> Replies:
    """
    Return what `question` returns for the chosen coins; where most servers refuse, ask again in halves.

    A server that is asked about a serial number which it does not keep answers with one status for all coins of the
    request (the RAIDA protocol, section 6). The largest part is halved first, down to single coins. Only for commands
    that change nothing. `question` returns the replies and the servers that refused.
    """
    told, refused = question(chosen)
    if not _is_refused(chosen, refused):
        return told
    found = {raida: dict(zip(chosen[raida], replies, strict=True)) for raida, replies in told.items()}
    parts: deque[Targets] = deque([{raida: chosen[raida] for raida in refused}])
    asked = 0
    while parts and asked < MOST_HALVES:
        for half in _halves(parts.popleft()):
            told, refused = question(half)
            asked += 1
            for raida, replies in told.items():
                found[raida] |= dict(zip(half[raida], replies, strict=True))
            if _is_refused(half, refused):
                parts.append({raida: half[raida] for raida in refused})
    return {raida: tuple(found[raida][index] for index in indices) for raida, indices in chosen.items()}


def _is_refused(chosen: Targets, refused: set[int]) -> bool:
    return 2 * len(refused) > len(chosen)


def _halves(part: Targets) -> list[Targets]:
    """Two parts of the coins, none if it is one coin."""
    indices = sorted({index for each in part.values() for index in each})
    if len(indices) < 2:
        return []
    middle = indices[len(indices) // 2]
    halves: list[Targets] = [
        {raida: tuple(index for index in each if index < middle) for raida, each in part.items()},
        {raida: tuple(index for index in each if index >= middle) for raida, each in part.items()},
    ]
    return [{raida: each for raida, each in half.items() if each} for half in halves]
