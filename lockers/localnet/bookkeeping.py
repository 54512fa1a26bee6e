"""
What a server does for each command, on its coins, lockers and tickets (the RAIDA protocol, section 6).

Nothing here knows of headers, sockets or faults: a payload goes in, a status and perhaps a
payload come out. Checks are in the order of real servers, because clients can see it.

Where the recorded server lets coins be stolen or doubled, this one refuses by default;
`legacy_bugs` copies those defects too:

- duplicates in the sum commands (their secrets cancel out, so nobody's secret is needed)
  and in a join;
- REMOVE and download by an old key, of coins that have left the locker by another way;
- breaking or joining into serial numbers that are somebody's;
- the small coins of a join staying authentic;
- the death by command 0/3.
"""

import asyncio
import itertools
import secrets
import struct
import time
from collections.abc import Awaitable, Callable, Iterable
from dataclasses import dataclass, field
from typing import Final, NamedTuple

from lockers.localnet.store import SERIAL_NUMBERS, Change, CoinStore
from lockers.raida.authenticity import AN_SIZE, created_an, download_an, fix_an, is_locker_key, xor, xor_sum
from lockers.raida.coins import COIN_SIZE, HIGHEST_DENOMINATION, LOWEST_DENOMINATION, Coin
from lockers.raida.encryption import KIND_COIN
from lockers.raida.frames import BODY_OVERHEAD
from lockers.raida.payloads import encode_bitmap, encode_verdicts
from lockers.raida.statuses import QUORUM, RAIDA_COUNT, Status

TICKET_SECONDS: Final = 300
TICKET_SLOTS: Final = 512
COINS_PER_TICKET: Final = 4096
TICKET_SIZE: Final = 4
ADMIN_SESSION: Final = 0xEEEEEEEE
CHANGE_COUNT: Final = 10
MAXIMUM_SERIALS: Final = 64
BUILD_DATE: Final = b"20250323"

_COIN_AN: Final = COIN_SIZE + AN_SIZE
_COIN_AN_PAN: Final = COIN_SIZE + 2 * AN_SIZE
_BREAK: Final = 1
_JOIN: Final = 2


class Outcome(NamedTuple):
    """A status, and the payload of the answer if it has a body."""

    status: Status
    payload: bytes | None = None


class Died(Exception):
    """The server crashes at this command instead of answering."""


class _Refused(Exception):
    def __init__(self, status: Status) -> None:
        super().__init__(status.name)
        self.status = status


@dataclass(slots=True)
class _Ticket:
    made_at: float
    coins: list[bytes]
    claimed_by: set[int] = field(default_factory=set)


# Asks another server what a ticket of its own is worth: (its number, ticket) -> coins' bytes.
AskPeer = Callable[[int, int], Awaitable[list[bytes]]]
Clock = Callable[[], float]


class Bookkeeping:
    """
    One server's coins, lockers and tickets.

    Lockers and tickets live in memory only. Real servers forget their lockers at a
    restart; this one finds them again in its coins unless it is told to `forget_lockers`.
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
        self.holds_wrong_secrets = False
        self._store = store
        self._admin_key = admin_key
        self._legacy_bugs = legacy_bugs
        self._clock = clock
        self._lockers = store.lockers()
        # Found once, most likely asked for again.
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
            return self._an(reference) if self._store.knows(reference) else None
        key = self._key_by_prefix.get(reference)
        if key not in self._lockers:
            key = next((other for other in self._lockers if other.startswith(reference)), None)
        if key is not None:
            self._key_by_prefix[reference] = key
        return key

    def forget_lockers(self) -> None:
        self._lockers.clear()

    async def answer(self, group: int, code: int, payload: bytes | None, *, ask_peer: AskPeer) -> Outcome:
        """
        Do the work of a command that this build `knows` and say what to answer.

        `payload` is None when the request had no body at all.

        :raises Died: the command kills this server
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
        except _Refused as refusal:
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
            (9, 91): self._available_serial_numbers,
            (9, 92): self._break,
            (9, 93): self._join,
        }
        if live:
            table |= {(8, 8): self._download, (8, 80): self._store_without_sum, (9, 90): self._make_change}
        return table

    # --- coins ---------------------------------------------------------------------------

    def _an(self, coin: bytes) -> bytes:
        an = self._store.an(coin)
        return bytes(byte ^ 0xA5 for byte in an) if self.holds_wrong_secrets else an

    def _ans(self, coins: list[bytes]) -> list[bytes]:
        return list(map(self._an, coins)) if self.holds_wrong_secrets else self._store.ans(coins)

    def _holds(self, coin: bytes, an: bytes) -> bool:
        return self._store.knows(coin) and self._an(coin) == an

    def _set_all(self, coins: list[bytes], an: bytes) -> None:
        self._store.write_alike(coins, an)

    def _has_forbidden_duplicates(self, coins: list[bytes]) -> bool:
        return not self._legacy_bugs and len(set(coins)) < len(coins)

    def _require_known(self, coins: Iterable[bytes]) -> None:
        if not self._store.knows_all(coins):
            raise _Refused(Status.INVALID_SN_OR_DENOMINATION)

    def _sum_is_right(self, coins: list[bytes], total: bytes) -> bool:
        return not self._has_forbidden_duplicates(coins) and xor_sum(self._ans(coins)) == total

    # --- status, authentication (section 6.1) ----------------------------------------------

    def _echo(self, payload: bytes) -> Outcome:
        return Outcome(Status.SUCCESS)

    def _version(self, payload: bytes) -> Outcome:
        return Outcome(Status.SUCCESS, BUILD_DATE)

    def _show_stats(self, payload: bytes) -> Outcome:
        self._require_admin(payload[:AN_SIZE])
        return Outcome(Status.SUCCESS)

    def _count(self, payload: bytes) -> Outcome:
        if self._legacy_bugs:
            raise Died
        counts = dict.fromkeys(range(LOWEST_DENOMINATION, HIGHEST_DENOMINATION + 1), 0)
        for coin in self._store.coins_in_use():
            counts[_denomination(coin)] += 1
        return Outcome(
            Status.SUCCESS,
            b"".join(_signed_byte(number) + count.to_bytes(4, "big") for number, count in counts.items()),
        )

    def _detect(self, payload: bytes) -> Outcome:
        rows = _rows(payload, _COIN_AN, minimum=39)
        return _per_item([self._holds(row[:COIN_SIZE], row[COIN_SIZE:]) for row in rows])

    def _detect_sum(self, payload: bytes) -> Outcome:
        coins, total = _coins_and_tail(payload, AN_SIZE, minimum=39)
        self._require_known(coins)
        return Outcome(Status.ALL_PASS if self._sum_is_right(coins, total) else Status.ALL_FAIL)

    def _pown(self, payload: bytes) -> Outcome:
        passed: list[bool] = []
        changes: dict[bytes, Change] = {}
        for row in _rows(payload, _COIN_AN_PAN, minimum=55):
            coin, an, pan = row[:COIN_SIZE], row[COIN_SIZE:_COIN_AN], row[_COIN_AN:]
            # A coin listed twice meets on its second turn the secret that the first one gave it.
            held = changes[coin].an == an if coin in changes else self._holds(coin, an)
            passed.append(held)
            if held:
                changes[coin] = Change(coin, pan, in_use=True)
        self._store.write(changes.values())
        return _per_item(passed)

    def _pown_sum(self, payload: bytes) -> Outcome:
        coins, tail = _coins_and_tail(payload, 2 * AN_SIZE, minimum=55)
        total, delta = tail[:AN_SIZE], tail[AN_SIZE:]
        self._require_known(coins)
        if not self._sum_is_right(coins, total):
            return Outcome(Status.ALL_FAIL)
        ans = {coin: self._an(coin) for coin in coins}
        for coin in coins:
            ans[coin] = xor(ans[coin], delta)
        self._store.write(Change(coin, an, in_use=True) for coin, an in ans.items())
        return Outcome(Status.ALL_PASS)

    # --- healing (section 6.1) -------------------------------------------------------------

    def _get_ticket(self, payload: bytes) -> Outcome:
        rows = _rows(payload, _COIN_AN, minimum=39)
        self._require_known(row[:COIN_SIZE] for row in rows)
        passed = [self._holds(row[:COIN_SIZE], row[COIN_SIZE:]) for row in rows]
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
            raise _Refused(Status.NO_TICKET_SLOT)
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
        rows = _rows(payload, _COIN_AN_PAN, minimum=55)
        self._require_known(row[:COIN_SIZE] for row in rows)
        found = bytes(self._which(row) for row in rows)
        if len(set(found)) == 1:
            return Outcome((Status.FIND_NEITHER, Status.FIND_ALL_AN, Status.FIND_ALL_PAN)[found[0]])
        return Outcome(Status.FIND_MIXED, found)

    def _which(self, row: bytes) -> int:
        an = self._an(row[:COIN_SIZE])
        return 1 if an == row[COIN_SIZE:_COIN_AN] else 2 if an == row[_COIN_AN:] else 0

    async def _fix(self, payload: bytes, ask_peer: AskPeer) -> Outcome:
        coins, tail = _coins_and_tail(payload, AN_SIZE + RAIDA_COUNT * TICKET_SIZE, minimum=139)
        self._require_known(coins)
        pan_generator, numbers = tail[:AN_SIZE], tail[AN_SIZE:]
        # The server trusts itself: its own vote is there from the beginning.
        votes = dict.fromkeys(coins, 1)
        tickets = [int.from_bytes(number, "big") for number in _split(numbers, TICKET_SIZE)]
        peers = [ask_peer(raida, ticket) for raida, ticket in enumerate(tickets) if ticket and raida != self.raida]
        for coin in itertools.chain.from_iterable(map(set, await asyncio.gather(*peers))):
            if coin in votes:
                votes[coin] += 1
        passed = [votes[coin] > QUORUM for coin in coins]
        self._store.write(
            Change(coin, fix_an(raida=self.raida, coin=Coin.from_bytes(coin), pg=pan_generator), in_use=True)
            for coin, is_fixed in zip(coins, passed, strict=True)
            if is_fixed
        )
        return _per_item(passed)

    # --- admin (section 6.1) ---------------------------------------------------------------

    def _require_admin(self, key: bytes) -> None:
        if not secrets.compare_digest(key, self._admin_key):
            raise _Refused(Status.ADMIN_AUTH)

    def _create_coins(self, payload: bytes) -> Outcome:
        head = 4 + AN_SIZE
        if len(payload) + BODY_OVERHEAD < 43:
            return Outcome(Status.INVALID_PACKET_LENGTH)
        self._require_admin(payload[4:head])
        coins = _split(payload[head:], COIN_SIZE)
        self._require_known(coins)
        if int.from_bytes(payload[:4], "big") not in (0, ADMIN_SESSION):
            return Outcome(Status.PAGE_IS_NOT_RESERVED)
        if len(coins) < 4:
            # Real servers hash what happens to lie behind a shorter list: nobody could know the secrets.
            return Outcome(Status.INVALID_PACKET_LENGTH)
        created = [Coin.from_bytes(coin) for coin in coins]
        old = b"".join(map(self._an, coins))
        self._store.write(
            Change(coin.to_bytes(), created_an(raida=self.raida, coin=coin, created=created), in_use=True)
            for coin in created
        )
        return Outcome(Status.SUCCESS, old)

    def _all_serial_numbers(self, payload: bytes) -> Outcome:
        if len(payload) != AN_SIZE + 1:
            return Outcome(Status.INVALID_PACKET_LENGTH)
        self._require_admin(payload[:AN_SIZE])
        denomination = payload[AN_SIZE:]
        self._require_known([denomination + bytes(4)])
        bitmap = bytearray(SERIAL_NUMBERS // 8)
        for coin in self._store.coins_in_use():
            if coin[:1] == denomination:
                number = int.from_bytes(coin[1:], "big")
                bitmap[number // 8] |= 1 << number % 8
        return Outcome(Status.SUCCESS, denomination + len(bitmap).to_bytes(4, "big") + bytes(bitmap))

    # --- lockers (section 6.2) -------------------------------------------------------------

    def _put(self, payload: bytes) -> Outcome:
        coins, tail = _coins_and_tail(payload, 2 * AN_SIZE, minimum=55)
        total, key = tail[:AN_SIZE], tail[AN_SIZE:]
        self._require_known(coins)
        if not self._sum_is_right(coins, total):
            return Outcome(Status.ALL_FAIL)
        if not is_locker_key(key):
            return Outcome(Status.INVALID_PAN)
        self._set_all(coins, key)
        self._list_in_locker(key, coins)
        return Outcome(Status.ALL_PASS)

    def _list_in_locker(self, key: bytes, coins: list[bytes]) -> None:
        listed = self._lockers.setdefault(key, {})
        if self._legacy_bugs:
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
        # Without the defect that counts them each coin is there once.
        several = [coin * count for coin, count in listed.items()] if self._legacy_bugs else listed
        return Outcome(Status.ALL_PASS, b"".join(several))

    def _remove(self, payload: bytes) -> Outcome:
        if len(payload) + BODY_OVERHEAD < 55:
            return Outcome(Status.INVALID_PACKET_LENGTH)
        key, rows = payload[:AN_SIZE], _split(payload[AN_SIZE:], _COIN_AN)
        listed = self._lockers.get(key)
        if listed is None:
            return Outcome(Status.ALL_FAIL)
        coins = [row[:COIN_SIZE] for row in rows]
        passed = [
            coin in listed and (self._legacy_bugs or an == key)
            for coin, an in zip(coins, self._ans(coins), strict=True)
        ]
        taken = {
            coin: Change(coin, row[COIN_SIZE:], in_use=True)
            for coin, row, is_taken in zip(coins, rows, passed, strict=True)
            if is_taken
        }
        self._store.write(taken.values())
        self._strike_from_locker(key, [coin for coin, is_taken in zip(coins, passed, strict=True) if is_taken])
        if not self._legacy_bugs:
            self._strike_from_locker(key, [coin for coin in listed if self._store.an(coin) != key])
        # Whatever the outcome, and one byte longer than it needs to be for a multiple of eight.
        return Outcome(encode_verdicts(passed)[0], encode_bitmap(passed, size=len(passed) // 8 + 1))

    def _may_leave(self, coin: bytes, key: bytes) -> bool:
        return self._legacy_bugs or self._an(coin) == key

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
        # Sizes first, of all of them, before the first one is stored.
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
        return _per_item([self._store_one(deposit) for deposit in deposits])

    def _store_one(self, deposit: bytes) -> bool:
        coins = _split(deposit[: -2 * AN_SIZE], COIN_SIZE)
        total, key = deposit[-2 * AN_SIZE : -AN_SIZE], deposit[-AN_SIZE:]
        is_good = all(map(self._store.knows, coins)) and self._sum_is_right(coins, total) and is_locker_key(key)
        if is_good and coins:
            self._set_all(coins, key)
            self._list_in_locker(key, coins)
        return is_good

    def _store_without_sum(self, payload: bytes) -> Outcome:
        passed: list[bool] = []
        for row in _rows(payload, _COIN_AN_PAN, minimum=55):
            coin, an, key = row[:COIN_SIZE], row[COIN_SIZE:_COIN_AN], row[_COIN_AN:]
            is_good = self._holds(coin, an) and is_locker_key(key)
            passed.append(is_good)
            if is_good:
                self._set_all([coin], key)
                self._list_in_locker(key, [coin])
        return _per_item(passed)

    def _download(self, payload: bytes) -> Outcome:
        if len(payload) != 2 * AN_SIZE:
            return Outcome(Status.INVALID_PACKET_LENGTH)
        key, seed = payload[:AN_SIZE], payload[AN_SIZE:]
        coins = [coin for coin in self._lockers.pop(key, {}) if self._may_leave(coin, key)]
        if not coins:
            return Outcome(Status.ALL_FAIL)
        self._store.write(
            Change(coin, download_an(coin=Coin.from_bytes(coin), seed=seed), in_use=True) for coin in coins
        )
        return Outcome(Status.ALL_PASS, b"".join(coins))

    # --- change (section 6.3) --------------------------------------------------------------

    def _available_serial_numbers(self, payload: bytes) -> Outcome:
        if len(payload) != 6:
            return Outcome(Status.INVALID_PACKET_LENGTH)
        operation, denomination = payload[4], payload[5:]
        if operation not in (_BREAK, _JOIN):
            return Outcome(Status.INVALID_PARAMETER)
        self._require_known([denomination + bytes(4)])
        wanted = _denomination(denomination) + (1 if operation == _JOIN else -1)
        if not LOWEST_DENOMINATION <= wanted <= HIGHEST_DENOMINATION:
            return Outcome(Status.INVALID_SN_OR_DENOMINATION)
        numbers = self._store.free_serial_numbers(_signed_byte(wanted), limit=MAXIMUM_SERIALS)
        return Outcome(Status.SUCCESS, _signed_byte(wanted) + b"".join(n.to_bytes(4, "big") for n in numbers))

    def _read_change(self, payload: bytes) -> tuple[int, bytes, bytes, list[bytes]]:
        if len(payload) != 4 + _COIN_AN * (1 + CHANGE_COUNT):
            raise _Refused(Status.INVALID_PACKET_LENGTH)
        big = payload[4 : 4 + _COIN_AN]
        return (
            int.from_bytes(payload[:4], "big"),
            big[:COIN_SIZE],
            big[COIN_SIZE:],
            _split(payload[4 + _COIN_AN :], _COIN_AN),
        )

    def _require_ten_of(self, big: bytes, rows: list[bytes]) -> None:
        coins = [row[:COIN_SIZE] for row in rows]
        self._require_known(coins)
        if any(_denomination(coin) != _denomination(big) - 1 for coin in coins):
            raise _Refused(Status.INVALID_SN_OR_DENOMINATION)
        if self._has_forbidden_duplicates(coins):
            raise _Refused(Status.INVALID_SN_OR_DENOMINATION)

    def _require_free(self, coins: Iterable[bytes], status: Status) -> None:
        if not self._legacy_bugs and any(map(self._store.is_in_use, coins)):
            raise _Refused(status)

    def _break(self, payload: bytes) -> Outcome:
        session, big, an, rows = self._read_change(payload)
        self._require_known([big])
        if _denomination(big) == LOWEST_DENOMINATION:
            return Outcome(Status.INVALID_SN_OR_DENOMINATION)
        if not self._holds(big, an):
            return Outcome(Status.ALL_FAIL)
        self._require_ten_of(big, rows)
        self._require_unreserved(session)
        self._require_free((row[:COIN_SIZE] for row in rows), Status.INVALID_SN_OR_DENOMINATION)
        changes = [Change(row[:COIN_SIZE], row[COIN_SIZE:], in_use=True) for row in rows]
        self._store.write([*changes, _freed(big)])
        return Outcome(Status.SUCCESS)

    def _join(self, payload: bytes) -> Outcome:
        session, big, pan, rows = self._read_change(payload)
        self._require_known([big])
        self._require_unreserved(session)
        self._require_ten_of(big, rows)
        if not all(self._holds(row[:COIN_SIZE], row[COIN_SIZE:]) for row in rows):
            return Outcome(Status.ALL_FAIL)
        self._require_free([big], Status.INVALID_SN_OR_DENOMINATION)
        small = [
            Change(row[:COIN_SIZE], row[COIN_SIZE:], in_use=False) if self._legacy_bugs else _freed(row[:COIN_SIZE])
            for row in rows
        ]
        self._store.write([*small, Change(big, pan, in_use=True)])
        return Outcome(Status.SUCCESS)

    def _require_unreserved(self, session: int) -> None:
        # Nothing reserves a page in this build, so only the session 0 owns any.
        if session != 0:
            raise _Refused(Status.PAGE_IS_NOT_RESERVED)

    def _make_change(self, payload: bytes) -> Outcome:
        head = _COIN_AN + 4
        if len(payload) != head + CHANGE_COUNT * AN_SIZE:
            return Outcome(Status.INVALID_PACKET_LENGTH)
        big, an = payload[:COIN_SIZE], payload[COIN_SIZE:_COIN_AN]
        first, pans = int.from_bytes(payload[_COIN_AN:head], "big"), _split(payload[head:], AN_SIZE)
        self._require_known([big])
        if _denomination(big) == LOWEST_DENOMINATION or first + CHANGE_COUNT > SERIAL_NUMBERS:
            return Outcome(Status.INVALID_SN_OR_DENOMINATION)
        if not self._holds(big, an):
            return Outcome(Status.ALL_FAIL)
        lower = _signed_byte(_denomination(big) - 1)
        coins = [lower + number.to_bytes(4, "big") for number in range(first, first + CHANGE_COUNT)]
        self._require_free(coins, Status.SN_NOT_AVAILABLE)
        changes = [Change(coin, pan, in_use=True) for coin, pan in zip(coins, pans, strict=True)]
        self._store.write([*changes, _freed(big)])
        return Outcome(Status.SUCCESS)


_FIX: Final = (2, 80)
_BODILESS: Final = frozenset({(0, 0), (0, 1), (0, 3)})

# Known to real servers, played by nobody here: trade lockers, keys, shards, crossover, files, integrity.
_UNPLAYED: Final = frozenset(
    {(3, 120), (3, 140), (3, 150), (8, 81), (8, 85), (8, 86), (8, 87), (8, 89), (12, 120), (14, 2), (14, 4), (14, 5)}
    | {(4, code) for code in range(41, 46)}
    | {(10, code) for code in range(170, 175)}
    | {(11, code) for code in (110, 111, 112, 114)}
    | {(13, code) for code in (134, 135, 136)}
)


def _rows(payload: bytes, size: int, *, minimum: int) -> list[bytes]:
    if len(payload) + BODY_OVERHEAD < minimum:
        raise _Refused(Status.INVALID_PACKET_LENGTH)
    return _split(payload, size)


def _coins_and_tail(payload: bytes, tail: int, *, minimum: int) -> tuple[list[bytes], bytes]:
    """Coins' five bytes as often as there are any, then a tail of fixed size; `minimum` is the whole body's."""
    if len(payload) + BODY_OVERHEAD < minimum:
        raise _Refused(Status.INVALID_PACKET_LENGTH)
    return _split(payload[:-tail], COIN_SIZE), payload[-tail:]


def _split(data: bytes, size: int) -> list[bytes]:
    if len(data) % size:
        raise _Refused(Status.COINS_NOT_DIV)
    return [row for (row,) in struct.iter_unpack(f"{size}s", data)]


def _per_item(passed: list[bool]) -> Outcome:
    return Outcome(*encode_verdicts(passed))


def _freed(coin: bytes) -> Change:
    return Change(coin, secrets.token_bytes(AN_SIZE), in_use=False)


def _denomination(coin: bytes) -> int:
    return int.from_bytes(coin[:1], "big", signed=True)


def _signed_byte(number: int) -> bytes:
    return number.to_bytes(1, "big", signed=True)
