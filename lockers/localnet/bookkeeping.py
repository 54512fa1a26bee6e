"""
What a server does for each command, on its coins, lockers and tickets (the RAIDA protocol, section 6).

This module knows payloads, and neither headers, sockets nor faults. Checks are in the order of real servers, because
it is visible to clients.

Where the recorded server allows coins to be stolen or doubled, this one refuses by default. `legacy_bugs` copies
these defects:

- duplicates in the sum commands (their ANs cancel out, so that no AN is proved) and in a join;
- REMOVE and download, by the old key, of coins that have left the locker by another way;
- breaking or joining into serial numbers that are in use;
- the small coins of a join staying authentic;
- the crash by command 0/3.
"""

import asyncio
import itertools
import secrets
import time
from collections.abc import Awaitable, Callable, Iterable
from dataclasses import dataclass, field
from typing import Final

from lockers.localnet.change import ChangeCommands
from lockers.localnet.coin_book import COIN_AN, COIN_AN_PAN, CoinBook
from lockers.localnet.payloads import (
    Outcome,
    coins_and_tail,
    denomination_of,
    encode_bitmap,
    read_rows,
    signed_byte,
    split,
    verdict,
    verdicts,
)
from lockers.localnet.store import SERIAL_NUMBERS, Change, CoinStore
from lockers.localnet.wire import Refused
from lockers.raida.authenticity import AN_SIZE, created_an, download_an, fix_an, is_locker_key, xor
from lockers.raida.coins import COIN_SIZE, HIGHEST_DENOMINATION, LOWEST_DENOMINATION, Coin
from lockers.raida.encryption import KIND_COIN
from lockers.raida.frames import BODY_OVERHEAD
from lockers.raida.payloads import ADMIN_SESSION, TICKET_SIZE
from lockers.raida.statuses import QUORUM, RAIDA_COUNT, Status

TICKET_SECONDS: Final = 300
TICKET_SLOTS: Final = 512
COINS_PER_TICKET: Final = 4096
BUILD_DATE: Final = b"20250323"


class Died(Exception):
    """The server crashes at this command instead of answering."""


@dataclass(slots=True)
class _Ticket:
    made_at: float
    coins: list[bytes]
    claimed_by: set[int] = field(default_factory=set)


# Asks another server which coins its ticket confirms: (server number, ticket) -> coins of five bytes.
AskPeer = Callable[[int, int], Awaitable[list[bytes]]]
Clock = Callable[[], float]


class Bookkeeping:
    """
    One server's coins, lockers and tickets.

    Lockers and tickets are kept in memory only. Real servers forget their lockers at a restart; this one rebuilds
    them from the ANs of its coins, unless `forget_lockers` is called.
    """

    def __init__(
        self,
        *,
        raida: int,
        store: CoinStore,
        admin_key: bytes,
        live: bool = False,
        legacy_bugs: bool = False,
        clock: Clock = time.monotonic,
    ) -> None:
        self.raida = raida
        self._coins = CoinBook(store, legacy_bugs=legacy_bugs)
        self._change = ChangeCommands(self._coins)
        self._admin_key = admin_key
        self._clock = clock
        self._lockers = store.lockers()
        # Keys that were found by their prefix.
        self._key_by_prefix: dict[bytes, bytes] = {}
        self._tickets: dict[int, _Ticket] = {}
        self._commands = self._table(live=live)

    def knows(self, group: int, code: int) -> bool:
        """Whether the command exists in this build."""
        return (group, code) in self._commands or (group, code) in _UNPLAYED or (group, code) == _FIX

    def find_key(self, kind: int, reference: bytes) -> bytes | None:
        """
        Return the key of 16 bytes for an encryption kind and the reference in a header, None if there is none.

        Kind 1 refers to a coin, kind 2 to the first five bytes of a locker's key.
        """
        if kind == KIND_COIN:
            return self._coins.an(reference) if self._coins.store.knows(reference) else None
        key = self._key_by_prefix.get(reference)
        if key not in self._lockers:
            key = next((other for other in self._lockers if other.startswith(reference)), None)
        if key is not None:
            self._key_by_prefix[reference] = key
        return key

    def forget_lockers(self) -> None:
        """Lose the index of lockers, as real servers do at a restart."""
        self._lockers.clear()

    def hold_wrong_secrets(self, is_wrong: bool) -> None:
        """Hold a wrong AN for each coin, or the right ones again."""
        self._coins.holds_wrong_secrets = is_wrong

    async def answer(self, group: int, code: int, payload: bytes | None, *, ask_peer: AskPeer) -> Outcome:
        """
        Execute a command that this build `knows`, and return the answer.

        `payload` is None if the request had no body.

        :raises Died: the command crashes this server
        :raises OSError: the store could not be written; nothing was changed
        """
        if payload is None and (group, code) not in _BODILESS:
            return Outcome(Status.EMPTY_REQUEST)
        try:
            if (group, code) == _FIX:
                return await self._fix(payload or b"", ask_peer)
            if (group, code) in _UNPLAYED:
                return Outcome(Status.NOT_IMPLEMENTED)
            return self._commands[group, code](payload or b"")
        except Refused as refusal:
            return Outcome(refusal.status)

    def _table(self, *, live: bool) -> dict[tuple[int, int], Callable[[bytes], Outcome]]:
        table: dict[tuple[int, int], Callable[[bytes], Outcome]] = {
            (0, 0): self._echo,
            (0, 1): self._version,
            (0, 2): self._show_stats,
            (0, 3): self._count,
            (1, 10): self._detect,
            (1, 11): self._detect_sum,
            (1, 20): self._pown,
            (1, 21): self._pown_sum,
            (2, 40): self._get_ticket,
            (2, 50): self._validate_ticket,
            (2, 60): self._find,
            (3, 130): self._create_coins,
            (3, 160): self._all_serial_numbers,
            (8, 82): self._put,
            (8, 83): self._peek,
            (8, 84): self._remove,
            (8, 88): self._store_multiple,
            (9, 91): self._change.available_serial_numbers,
            (9, 92): self._change.break_coin,
            (9, 93): self._change.join,
        }
        if live:
            table |= {(8, 8): self._download, (8, 80): self._store_without_sum, (9, 90): self._change.make_change}
        return table

    # --- status, authentication (section 6.1) ----------------------------------------------

    def _echo(self, payload: bytes) -> Outcome:
        return Outcome(Status.SUCCESS)

    def _version(self, payload: bytes) -> Outcome:
        return Outcome(Status.SUCCESS, BUILD_DATE)

    def _show_stats(self, payload: bytes) -> Outcome:
        self._require_admin(payload[:AN_SIZE])
        return Outcome(Status.SUCCESS)

    def _count(self, payload: bytes) -> Outcome:
        if self._coins.legacy_bugs:
            raise Died
        counts = dict.fromkeys(range(LOWEST_DENOMINATION, HIGHEST_DENOMINATION + 1), 0)
        for coin in self._coins.store.coins_in_use():
            counts[denomination_of(coin)] += 1
        return Outcome(
            Status.SUCCESS,
            b"".join(signed_byte(number) + count.to_bytes(4, "big") for number, count in counts.items()),
        )

    def _detect(self, payload: bytes) -> Outcome:
        rows = read_rows(payload, COIN_AN, minimum=39)
        return verdicts([self._coins.holds(row[:COIN_SIZE], row[COIN_SIZE:]) for row in rows])

    def _detect_sum(self, payload: bytes) -> Outcome:
        coins, total = coins_and_tail(payload, AN_SIZE, minimum=39)
        self._coins.require_known(coins)
        return Outcome(Status.ALL_PASS if self._coins.sum_is_right(coins, total) else Status.ALL_FAIL)

    def _pown(self, payload: bytes) -> Outcome:
        passed: list[bool] = []
        changes: dict[bytes, Change] = {}
        for row in read_rows(payload, COIN_AN_PAN, minimum=55):
            coin, an, pan = row[:COIN_SIZE], row[COIN_SIZE:COIN_AN], row[COIN_AN:]
            # A coin that is listed twice has, the second time, the AN that it got the first time.
            held = changes[coin].an == an if coin in changes else self._coins.holds(coin, an)
            passed.append(held)
            if held:
                changes[coin] = Change(coin, pan, in_use=True)
        self._coins.store.write(changes.values())
        return verdicts(passed)

    def _pown_sum(self, payload: bytes) -> Outcome:
        coins, tail = coins_and_tail(payload, 2 * AN_SIZE, minimum=55)
        total, delta = tail[:AN_SIZE], tail[AN_SIZE:]
        self._coins.require_known(coins)
        if not self._coins.sum_is_right(coins, total):
            return Outcome(Status.ALL_FAIL)
        ans = {coin: self._coins.an(coin) for coin in coins}
        for coin in coins:
            ans[coin] = xor(ans[coin], delta)
        self._coins.store.write(Change(coin, an, in_use=True) for coin, an in ans.items())
        return Outcome(Status.ALL_PASS)

    # --- fixing (section 6.1) --------------------------------------------------------------

    def _get_ticket(self, payload: bytes) -> Outcome:
        rows = read_rows(payload, COIN_AN, minimum=39)
        self._coins.require_known(row[:COIN_SIZE] for row in rows)
        passed = [self._coins.holds(row[:COIN_SIZE], row[COIN_SIZE:]) for row in rows]
        if not any(passed):
            return Outcome(Status.ALL_FAIL)
        good = [row[:COIN_SIZE] for row, is_good in zip(rows, passed, strict=True) if is_good]
        number = self._new_ticket(good[:COINS_PER_TICKET]).to_bytes(TICKET_SIZE, "big")
        if all(passed):
            return Outcome(Status.ALL_PASS, number)
        return Outcome(Status.MIXED, encode_bitmap(passed) + number)

    def _new_ticket(self, coins: list[bytes]) -> int:
        self._drop_old_tickets()
        if len(self._tickets) >= TICKET_SLOTS:
            raise Refused(Status.NO_TICKET_SLOT)
        number = 0
        while number == 0 or number in self._tickets:
            number = secrets.randbits(32)
        self._tickets[number] = _Ticket(self._clock(), coins)
        return number

    def _drop_old_tickets(self) -> None:
        oldest = self._clock() - TICKET_SECONDS
        for number in [number for number, ticket in self._tickets.items() if ticket.made_at < oldest]:
            del self._tickets[number]

    def _validate_ticket(self, payload: bytes) -> Outcome:
        if len(payload) != 1 + TICKET_SIZE:
            return Outcome(Status.INVALID_PACKET_LENGTH)
        asker = payload[0]
        if asker >= RAIDA_COUNT:
            return Outcome(Status.WRONG_RAIDA)
        self._drop_old_tickets()
        ticket = self._tickets.get(int.from_bytes(payload[1:], "big"))
        if ticket is None:
            return Outcome(Status.NO_TICKET_FOUND)
        if asker in ticket.claimed_by:
            return Outcome(Status.TICKET_CLAIMED_ALREADY)
        ticket.claimed_by.add(asker)
        return Outcome(Status.SUCCESS, b"".join(ticket.coins))

    def _find(self, payload: bytes) -> Outcome:
        rows = read_rows(payload, COIN_AN_PAN, minimum=55)
        self._coins.require_known(row[:COIN_SIZE] for row in rows)
        found = bytes(self._which(row) for row in rows)
        if len(set(found)) == 1:
            return Outcome((Status.FIND_NEITHER, Status.FIND_ALL_AN, Status.FIND_ALL_PAN)[found[0]])
        return Outcome(Status.FIND_MIXED, found)

    def _which(self, row: bytes) -> int:
        an = self._coins.an(row[:COIN_SIZE])
        return 1 if an == row[COIN_SIZE:COIN_AN] else 2 if an == row[COIN_AN:] else 0

    async def _fix(self, payload: bytes, ask_peer: AskPeer) -> Outcome:
        coins, tail = coins_and_tail(payload, AN_SIZE + RAIDA_COUNT * TICKET_SIZE, minimum=139)
        self._coins.require_known(coins)
        pan_generator, numbers = tail[:AN_SIZE], tail[AN_SIZE:]
        # The server counts its own vote.
        votes = dict.fromkeys(coins, 1)
        tickets = [int.from_bytes(number, "big") for number in split(numbers, TICKET_SIZE)]
        peers = [ask_peer(raida, ticket) for raida, ticket in enumerate(tickets) if ticket and raida != self.raida]
        for coin in itertools.chain.from_iterable(map(set, await asyncio.gather(*peers))):
            if coin in votes:
                votes[coin] += 1
        passed = [votes[coin] > QUORUM for coin in coins]
        self._coins.store.write(
            Change(coin, fix_an(raida=self.raida, coin=Coin.from_bytes(coin), pg=pan_generator), in_use=True)
            for coin, is_fixed in zip(coins, passed, strict=True)
            if is_fixed
        )
        return verdicts(passed)

    # --- admin (section 6.1) ---------------------------------------------------------------

    def _require_admin(self, key: bytes) -> None:
        if not secrets.compare_digest(key, self._admin_key):
            raise Refused(Status.ADMIN_AUTH)

    def _create_coins(self, payload: bytes) -> Outcome:
        head = 4 + AN_SIZE
        if len(payload) + BODY_OVERHEAD < 43:
            return Outcome(Status.INVALID_PACKET_LENGTH)
        self._require_admin(payload[4:head])
        coins = split(payload[head:], COIN_SIZE)
        self._coins.require_known(coins)
        if int.from_bytes(payload[:4], "big") not in (0, ADMIN_SESSION):
            return Outcome(Status.PAGE_IS_NOT_RESERVED)
        if len(coins) < 4:
            # Real servers hash whatever memory follows a shorter list, so the ANs would be unknown.
            return Outcome(Status.INVALID_PACKET_LENGTH)
        created = [Coin.from_bytes(coin) for coin in coins]
        old = b"".join(map(self._coins.an, coins))
        self._coins.store.write(
            Change(coin.to_bytes(), created_an(raida=self.raida, coin=coin, created=created), in_use=True)
            for coin in created
        )
        return Outcome(Status.SUCCESS, old)

    def _all_serial_numbers(self, payload: bytes) -> Outcome:
        if len(payload) != AN_SIZE + 1:
            return Outcome(Status.INVALID_PACKET_LENGTH)
        self._require_admin(payload[:AN_SIZE])
        denomination = payload[AN_SIZE:]
        self._coins.require_known([denomination + bytes(4)])
        bitmap = bytearray(SERIAL_NUMBERS // 8)
        for coin in self._coins.store.coins_in_use():
            if coin[:1] == denomination:
                number = int.from_bytes(coin[1:], "big")
                bitmap[number // 8] |= 1 << number % 8
        return Outcome(Status.SUCCESS, denomination + len(bitmap).to_bytes(4, "big") + bytes(bitmap))

    # --- lockers (section 6.2) -------------------------------------------------------------

    def _put(self, payload: bytes) -> Outcome:
        coins, tail = coins_and_tail(payload, 2 * AN_SIZE, minimum=55)
        total, key = tail[:AN_SIZE], tail[AN_SIZE:]
        self._coins.require_known(coins)
        if not self._coins.sum_is_right(coins, total):
            return Outcome(Status.ALL_FAIL)
        if not is_locker_key(key):
            return Outcome(Status.INVALID_PAN)
        self._coins.set_all(coins, key)
        self._list_in_locker(key, coins)
        return Outcome(Status.ALL_PASS)

    def _list_in_locker(self, key: bytes, coins: list[bytes]) -> None:
        listed = self._lockers.setdefault(key, {})
        if self._coins.legacy_bugs:
            for coin in coins:
                listed[coin] = listed.get(coin, 0) + 1
        else:
            listed.update(dict.fromkeys(coins, 1))

    def _peek(self, payload: bytes) -> Outcome:
        if len(payload) != AN_SIZE:
            return Outcome(Status.INVALID_PACKET_LENGTH)
        listed = self._lockers.get(payload)
        if listed is None:
            return Outcome(Status.ALL_FAIL)
        # With the defect, a coin that was put twice is listed twice.
        several = [coin * count for coin, count in listed.items()] if self._coins.legacy_bugs else listed
        return Outcome(Status.ALL_PASS, b"".join(several))

    def _remove(self, payload: bytes) -> Outcome:
        if len(payload) + BODY_OVERHEAD < 55:
            return Outcome(Status.INVALID_PACKET_LENGTH)
        key, rows = payload[:AN_SIZE], split(payload[AN_SIZE:], COIN_AN)
        listed = self._lockers.get(key)
        if listed is None:
            return Outcome(Status.ALL_FAIL)
        coins = [row[:COIN_SIZE] for row in rows]
        passed = [
            coin in listed and (self._coins.legacy_bugs or an == key)
            for coin, an in zip(coins, self._coins.ans(coins), strict=True)
        ]
        taken = {
            coin: Change(coin, row[COIN_SIZE:], in_use=True)
            for coin, row, is_taken in zip(coins, rows, passed, strict=True)
            if is_taken
        }
        self._coins.store.write(taken.values())
        self._strike_from_locker(key, [coin for coin, is_taken in zip(coins, passed, strict=True) if is_taken])
        if not self._coins.legacy_bugs:
            self._strike_from_locker(key, [coin for coin in listed if self._coins.store.an(coin) != key])
        # With every status, and one byte longer than necessary for a multiple of eight.
        return Outcome(verdict(passed), encode_bitmap(passed, size=len(passed) // 8 + 1))

    def _may_leave(self, coin: bytes, key: bytes) -> bool:
        return self._coins.legacy_bugs or self._coins.an(coin) == key

    def _strike_from_locker(self, key: bytes, coins: Iterable[bytes]) -> None:
        listed = self._lockers.get(key, {})
        for coin in coins:
            count = listed.get(coin, 0)
            if count > 1:
                listed[coin] = count - 1
            else:
                listed.pop(coin, None)
        if not listed:
            self._lockers.pop(key, None)

    def _store_multiple(self, payload: bytes) -> Outcome:
        if not payload:
            return Outcome(Status.INVALID_PACKET_LENGTH)
        count = payload[0]
        if count == 0:
            return Outcome(Status.INVALID_PARAMETER)
        # All sizes are checked before the first locker is stored.
        deposits: list[bytes] = []
        position = 1
        for _ in range(count):
            size = int.from_bytes(payload[position : position + 2], "big") * COIN_SIZE + 2 * AN_SIZE
            deposit = payload[position + 2 : position + 2 + size]
            if len(payload) < position + 2 or len(deposit) < size:
                return Outcome(Status.INVALID_PACKET_LENGTH)
            deposits.append(deposit)
            position += 2 + size
        if len(payload) < 1 + count * (2 + COIN_SIZE + 2 * AN_SIZE):
            return Outcome(Status.INVALID_PACKET_LENGTH)
        return verdicts([self._store_one(deposit) for deposit in deposits])

    def _store_one(self, deposit: bytes) -> bool:
        coins = split(deposit[: -2 * AN_SIZE], COIN_SIZE)
        total, key = deposit[-2 * AN_SIZE : -AN_SIZE], deposit[-AN_SIZE:]
        is_good = (
            all(map(self._coins.store.knows, coins)) and self._coins.sum_is_right(coins, total) and is_locker_key(key)
        )
        if is_good and coins:
            self._coins.set_all(coins, key)
            self._list_in_locker(key, coins)
        return is_good

    def _store_without_sum(self, payload: bytes) -> Outcome:
        passed: list[bool] = []
        for row in read_rows(payload, COIN_AN_PAN, minimum=55):
            coin, an, key = row[:COIN_SIZE], row[COIN_SIZE:COIN_AN], row[COIN_AN:]
            is_good = self._coins.holds(coin, an) and is_locker_key(key)
            passed.append(is_good)
            if is_good:
                self._coins.set_all([coin], key)
                self._list_in_locker(key, [coin])
        return verdicts(passed)

    def _download(self, payload: bytes) -> Outcome:
        if len(payload) != 2 * AN_SIZE:
            return Outcome(Status.INVALID_PACKET_LENGTH)
        key, seed = payload[:AN_SIZE], payload[AN_SIZE:]
        coins = [coin for coin in self._lockers.pop(key, {}) if self._may_leave(coin, key)]
        if not coins:
            return Outcome(Status.ALL_FAIL)
        self._coins.store.write(
            Change(coin, download_an(coin=Coin.from_bytes(coin), seed=seed), in_use=True) for coin in coins
        )
        return Outcome(Status.ALL_PASS, b"".join(coins))


_FIX: Final = (2, 80)
_BODILESS: Final = frozenset({(0, 0), (0, 1), (0, 3)})

# Known to real servers but not implemented here: trade lockers, keys, shards, crossover, files, integrity.
_UNPLAYED: Final = frozenset(
    {(3, 120), (3, 140), (3, 150), (8, 81), (8, 85), (8, 86), (8, 87), (8, 89), (12, 120), (14, 2), (14, 4), (14, 5)}
    | {(4, code) for code in range(41, 46)}
    | {(10, code) for code in range(170, 175)}
    | {(11, code) for code in (110, 111, 112, 114)}
    | {(13, code) for code in (134, 135, 136)}
)
