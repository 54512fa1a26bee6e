"""
What to say to 25 servers about a batch of coins, and what their answers mean.

Knows neither the database nor sockets: bytes go out through `network.Call`, answers come in
as `network.Answer` or `network.NoResponse`.
"""

from collections import Counter
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass, field
from enum import StrEnum
from itertools import chain
from typing import Final
from uuid import UUID

from lockers.raida import payloads
from lockers.raida.coins import Coin
from lockers.raida.commands import Command
from lockers.raida.errors import WireError
from lockers.raida.statuses import RAIDA_COUNT, UNREADABLE, Status
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
    """What one server told about one coin."""

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
# The coin is not what we say, a serial number is not free, the page is somebody's: nothing was done.
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
    Return which coins to ask each server about: those with one of `marks` there.

    With `known_good` only coins that the server is known to accept. A put passes or fails as a
    whole on each server, so one coin that a server refuses would take all others with it.
    """
    # Most coins of a batch are alike, and then so are the lists of most servers.
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

    With `back` a moving command goes from new to old. The batch of a put or a remove has one
    locker, so its key is the same in every piece.
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
    """Servers that are asked for the same coins share their list: it is made once."""
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
    Return what each server told about each of the coins that it was asked about, in that order.

    `reads` understands one server's answer about so many coins, where that is not one word per coin.

    An answer that cannot be read tells nothing: it counts as silence, because the command may
    have been carried out.
    """
    reads = reads or read
    return {raida: reads(command, results.get(raida), len(indices)) for raida, indices in chosen.items()}


def read(command: Command, result: Answer | NoResponse | None, count: int) -> tuple[Reply, ...]:
    """Return what an answer says about each of `count` coins."""
    if result is None:
        return (Reply.SILENT,) * count
    if isinstance(result, NoResponse):
        return (Reply.SILENT if result.sent else Reply.UNREACHED,) * count
    try:
        match command:
            case Command.PUT:
                is_done = payloads.decode_verdict(result.status, result.payload)
                return (Reply.PASS if is_done else Reply.FAIL,) * count
            case Command.REMOVE:
                passed = payloads.decode_remove_reply(result.status, result.payload, count=count).passed
            case Command.FIND:
                found = payloads.decode_find_reply(result.status, result.payload, count=count)
                return tuple(_FOUND[one] for one in found)
            case Command.BREAK | Command.JOIN:
                if result.status in _CHANGE_REFUSALS:
                    return (Reply.FAIL,) * count
                payloads.decode_done(result.status, result.payload)
                return (Reply.PASS,) * count
            case _:
                passed = payloads.decode_verdicts(result.status, result.payload, count=count)
    except WireError:
        if command is Command.REMOVE and result.status == Status.INVALID_ENCRYPTION:
            # Encrypted with a locker's key, it says that there is no such locker.
            return (Reply.FAIL,) * count
        if result.status in UNREADABLE:
            return (Reply.UNREADABLE,) * count
        is_success = result.status in (Status.ALL_PASS, Status.ALL_FAIL, Status.MIXED, Status.SUCCESS)
        return (Reply.SILENT if is_success else Reply.ERROR,) * count
    return tuple(Reply.PASS if one else Reply.FAIL for one in passed)


def answer_code(result: Answer | NoResponse) -> int:
    """The status byte, or the number below 0 that `models.Attempt` stores for a silence."""
    return int(result.status) if isinstance(result, Answer) else _SILENCES[result.reason]


@dataclass(frozen=True, slots=True)
class Listing:
    """
    What the servers say that a locker holds: `coins` are those that at least 13 listed.

    `listed` servers knew the locker, `empty` ones did not, the others gave no usable answer. It `is_partial` if some
    servers, but fewer, listed other coins besides: the others may have forgotten them.
    """

    coins: frozenset[Coin]
    listed: int
    empty: int
    statuses: tuple[int | None, ...]
    is_partial: bool = False
    # The code that opened the locker, if it is not what was typed.
    code_used: str | None = field(default=None, repr=False)


def listing(results: Results, *, quorum: int) -> Listing:
    """Count the answers to a peek. Order and repetitions in a server's list mean nothing."""
    votes: dict[Coin, int] = {}
    listed = empty = 0
    # Most servers send the same bytes, which are read once.
    alike = Counter((result.status, result.payload) for result in results.values() if isinstance(result, Answer))
    for (status, payload), count in alike.items():
        if status == Status.INVALID_ENCRYPTION:
            # Asked with the locker's own key: there is no such locker.
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
    """Whether the servers that have not answered a peek cannot change what it lists."""
    outstanding = RAIDA_COUNT - len(results)
    if outstanding >= quorum:
        return False
    alike = Counter((result.status, result.payload) for result in results.values() if isinstance(result, Answer))
    if alike and alike.most_common(1)[0][1] >= quorum:
        # Nothing else can get 13 votes any more. Long lists in the same order are not even read.
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
