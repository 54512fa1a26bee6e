"""
Makes coins on a network whose admin key is known, through its own commands.

The admin command derives the ANs of new coins from the request, so that an observer of the request knows them. Each
coin therefore gets 25 fresh random ANs (pown) before it is returned.
"""

import itertools
import secrets
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Final

from lockers import transport
from lockers.localnet.store import SERIAL_NUMBERS
from lockers.raida.authenticity import AN_SIZE, created_an, is_safe_pan
from lockers.raida.coins import Coin
from lockers.raida.commands import Command
from lockers.raida.files import CoinRecord
from lockers.raida.payloads import decode_verdicts, encode_create_coins, encode_records
from lockers.raida.statuses import QUORUM, RAIDA_COUNT, Status
from lockers.transport import Answer, Call, Server

# The admin command needs at least four coins: with fewer, their ANs would be unknown.
SMALLEST_BATCH: Final = 4
# A pown of this many coins is 37 kB; a request has at most 64 kB.
LARGEST_BATCH: Final = 1000

_DEADLINE_SECONDS: Final = 20.0


class MintingFailed(Exception):
    """The coins cannot be made, or too few servers made them; the message gives the reason."""


@dataclass(frozen=True, slots=True)
class _Made:
    """Which coins of a batch one server made, and their ANs there."""

    passed: tuple[bool, ...]
    ans: tuple[bytes, ...] = field(repr=False)


def choose_coins(
    servers: Sequence[Server],
    wanted: Mapping[int, int],
    admin_key: bytes,
    *,
    deadline_seconds: float = _DEADLINE_SECONDS,
) -> list[Coin]:
    """
    Choose `wanted` coins of each denomination, with random serial numbers that are not in circulation.

    :raises MintingFailed: no server lists its coins, or too few serial numbers are left
    """
    coins: list[Coin] = []
    for denomination, count in wanted.items():
        taken = _serial_numbers_in_use(servers, denomination, admin_key, deadline_seconds)
        if count > SERIAL_NUMBERS - len(taken):
            raise MintingFailed(f"Of denomination {denomination} only {SERIAL_NUMBERS - len(taken)} coins are left.")
        chosen: set[int] = set()
        while len(chosen) < count:
            number = secrets.randbelow(SERIAL_NUMBERS)
            if number not in taken:
                chosen.add(number)
        coins += [Coin(denomination, number) for number in sorted(chosen)]
    return coins


def _serial_numbers_in_use(
    servers: Sequence[Server], denomination: int, admin_key: bytes, deadline_seconds: float
) -> Collection[int]:
    payload = admin_key + denomination.to_bytes(1, "big", signed=True)
    # One server at a time: all list the same coins, and an answer has 128 kB.
    for server in servers:
        call = Call(Command.GET_ALL_SNS, {server.raida: payload})
        result = transport.ask([server], call, until=transport.within(deadline_seconds / 5))[server.raida]
        if isinstance(result, Answer) and result.status == Status.ADMIN_AUTH:
            raise MintingFailed(f"RAIDA {server.raida} refuses the admin key.")
        if isinstance(result, Answer) and result.status == Status.SUCCESS:
            return _numbers_in(result.payload[5:])
    raise MintingFailed("No server says which coins are in circulation.")


def _numbers_in(bitmap: bytes) -> set[int]:
    return {8 * position + bit for position, byte in enumerate(bitmap) if byte for bit in range(8) if byte >> bit & 1}


def mint(
    servers: Sequence[Server],
    coins: Sequence[Coin],
    admin_key: bytes,
    *,
    deadline_seconds: float = _DEADLINE_SECONDS,
    on_progress: Callable[[int], None] | None = None,
) -> list[CoinRecord]:
    """
    Make `coins` on all servers and return them with their ANs and pown strings.

    Coins that already exist are taken from their owner: see `choose_coins`. `deadline_seconds` is for each command;
    `on_progress` receives the number of coins made so far.

    :raises MintingFailed: fewer than four coins, one twice, or fewer than 13 servers made one
    """
    if len(coins) < SMALLEST_BATCH:
        raise MintingFailed(f"At least {SMALLEST_BATCH} coins are made at a time.")
    if len(set(coins)) != len(coins):
        raise MintingFailed("A coin is listed twice.")
    records: list[CoinRecord] = []
    for batch in _batches(coins):
        records += _mint_batch(servers, batch, admin_key, deadline_seconds)
        if on_progress is not None:
            on_progress(len(records))
    return records


def _batches(coins: Sequence[Coin]) -> Iterable[Sequence[Coin]]:
    # Of even size, so that the last one has at least four coins.
    count = -(-len(coins) // LARGEST_BATCH)
    edges = [len(coins) * number // count for number in range(count + 1)]
    return [coins[start:end] for start, end in itertools.pairwise(edges)]


def _mint_batch(
    servers: Sequence[Server], coins: Sequence[Coin], admin_key: bytes, deadline_seconds: float
) -> list[CoinRecord]:
    asked = [server.raida for server in servers]
    creation = encode_create_coins(coins, admin_key)
    created = transport.ask(
        servers, Call(Command.CREATE_COINS, dict.fromkeys(asked, creation)), until=transport.within(deadline_seconds)
    )
    statuses = {raida: result.status for raida, result in created.items() if isinstance(result, Answer)}
    if Status.ADMIN_AUTH in statuses.values():
        raise MintingFailed("The servers refuse the admin key.")
    ready = [raida for raida, status in statuses.items() if status == Status.SUCCESS]

    listed = [coin.to_bytes() for coin in coins]
    fresh = {raida: [fresh_an() for _ in coins] for raida in ready}
    powns = {
        raida: encode_records(
            listed, [created_an(raida=raida, coin=coin, created=coins) for coin in coins], fresh[raida]
        )
        for raida in ready
    }
    owned = transport.ask(servers, Call(Command.POWN, powns), until=transport.within(deadline_seconds))
    made = {raida: _outcome(owned[raida], fresh[raida]) for raida in ready}
    return [_record(coin, position, made) for position, coin in enumerate(coins)]


def _outcome(result: transport.Result, ans: Sequence[bytes]) -> _Made:
    passed: tuple[bool, ...] = (False,) * len(ans)
    if isinstance(result, Answer) and result.status in (Status.ALL_PASS, Status.MIXED):
        passed = decode_verdicts(result.status, result.payload, count=len(ans))
    return _Made(passed, tuple(ans))


def _record(coin: Coin, position: int, made: Mapping[int, _Made]) -> CoinRecord:
    passed = [raida in made and made[raida].passed[position] for raida in range(RAIDA_COUNT)]
    if sum(passed) < QUORUM:
        raise MintingFailed(f"Only {sum(passed)} servers made a coin; {QUORUM} must.")
    # The coin has to be fixed on the other servers: a random AN replaces the unknown one.
    ans = tuple(made[raida].ans[position] if is_good else fresh_an() for raida, is_good in enumerate(passed))
    return CoinRecord(coin, ans, pown="".join("p" if is_good else "f" for is_good in passed))


def fresh_an() -> bytes:
    """16 random bytes that are not a locker key."""
    while True:
        an = secrets.token_bytes(AN_SIZE)
        if is_safe_pan(an):
            return an
