"""Change on one server of the local network: free serial numbers, break, join, make change (section 6.3)."""

import secrets
from collections.abc import Iterable

from lockers.localnet.coin_book import COIN_AN, CoinBook
from lockers.localnet.payloads import Outcome, denomination_of, signed_byte, split
from lockers.localnet.store import SERIAL_NUMBERS, Change
from lockers.localnet.wire import Refused
from lockers.raida.authenticity import AN_SIZE
from lockers.raida.coins import COIN_SIZE, HIGHEST_DENOMINATION, LOWEST_DENOMINATION
from lockers.raida.payloads import CHANGE_COUNT, MAXIMUM_SERIALS, SerialsOperation
from lockers.raida.statuses import Status


class ChangeCommands:
    """The commands that turn a coin into ten of the next lower denomination, and back."""

    def __init__(self, coins: CoinBook) -> None:
        self._coins = coins

    def available_serial_numbers(self, payload: bytes) -> Outcome:
        if len(payload) != 6:
            return Outcome(Status.INVALID_PACKET_LENGTH)
        operation, denomination = payload[4], payload[5:]
        if operation not in (SerialsOperation.BREAK, SerialsOperation.JOIN):
            return Outcome(Status.INVALID_PARAMETER)
        self._coins.require_known([denomination + bytes(4)])
        wanted = denomination_of(denomination) + (1 if operation == SerialsOperation.JOIN else -1)
        if not LOWEST_DENOMINATION <= wanted <= HIGHEST_DENOMINATION:
            return Outcome(Status.INVALID_SN_OR_DENOMINATION)
        numbers = self._coins.store.free_serial_numbers(signed_byte(wanted), limit=MAXIMUM_SERIALS)
        return Outcome(Status.SUCCESS, signed_byte(wanted) + b"".join(n.to_bytes(4, "big") for n in numbers))

    def _read_change(self, payload: bytes) -> tuple[int, bytes, bytes, list[bytes]]:
        if len(payload) != 4 + COIN_AN * (1 + CHANGE_COUNT):
            raise Refused(Status.INVALID_PACKET_LENGTH)
        big = payload[4 : 4 + COIN_AN]
        return (
            int.from_bytes(payload[:4], "big"),
            big[:COIN_SIZE],
            big[COIN_SIZE:],
            split(payload[4 + COIN_AN :], COIN_AN),
        )

    def _require_ten_of(self, big: bytes, rows: list[bytes]) -> None:
        coins = [row[:COIN_SIZE] for row in rows]
        self._coins.require_known(coins)
        if any(denomination_of(coin) != denomination_of(big) - 1 for coin in coins):
            raise Refused(Status.INVALID_SN_OR_DENOMINATION)
        if self._coins.has_forbidden_duplicates(coins):
            raise Refused(Status.INVALID_SN_OR_DENOMINATION)

    def _require_free(self, coins: Iterable[bytes], status: Status) -> None:
        if not self._coins.legacy_bugs and any(map(self._coins.store.is_in_use, coins)):
            raise Refused(status)

    def break_coin(self, payload: bytes) -> Outcome:
        session, big, an, rows = self._read_change(payload)
        self._coins.require_known([big])
        if denomination_of(big) == LOWEST_DENOMINATION:
            return Outcome(Status.INVALID_SN_OR_DENOMINATION)
        if not self._coins.holds(big, an):
            return Outcome(Status.ALL_FAIL)
        self._require_ten_of(big, rows)
        self._require_unreserved(session)
        self._require_free((row[:COIN_SIZE] for row in rows), Status.INVALID_SN_OR_DENOMINATION)
        changes = [Change(row[:COIN_SIZE], row[COIN_SIZE:], in_use=True) for row in rows]
        self._coins.store.write([*changes, _freed(big)])
        return Outcome(Status.SUCCESS)

    def join(self, payload: bytes) -> Outcome:
        session, big, pan, rows = self._read_change(payload)
        self._coins.require_known([big])
        self._require_unreserved(session)
        self._require_ten_of(big, rows)
        if not all(self._coins.holds(row[:COIN_SIZE], row[COIN_SIZE:]) for row in rows):
            return Outcome(Status.ALL_FAIL)
        self._require_free([big], Status.INVALID_SN_OR_DENOMINATION)
        small = [
            Change(row[:COIN_SIZE], row[COIN_SIZE:], in_use=False)
            if self._coins.legacy_bugs
            else _freed(row[:COIN_SIZE])
            for row in rows
        ]
        self._coins.store.write([*small, Change(big, pan, in_use=True)])
        return Outcome(Status.SUCCESS)

    def _require_unreserved(self, session: int) -> None:
        # Nothing reserves a page in this build, so only the session 0 owns any.
        if session != 0:
            raise Refused(Status.PAGE_IS_NOT_RESERVED)

    def make_change(self, payload: bytes) -> Outcome:
        head = COIN_AN + 4
        if len(payload) != head + CHANGE_COUNT * AN_SIZE:
            return Outcome(Status.INVALID_PACKET_LENGTH)
        big, an = payload[:COIN_SIZE], payload[COIN_SIZE:COIN_AN]
        first, pans = int.from_bytes(payload[COIN_AN:head], "big"), split(payload[head:], AN_SIZE)
        self._coins.require_known([big])
        if denomination_of(big) == LOWEST_DENOMINATION or first + CHANGE_COUNT > SERIAL_NUMBERS:
            return Outcome(Status.INVALID_SN_OR_DENOMINATION)
        if not self._coins.holds(big, an):
            return Outcome(Status.ALL_FAIL)
        lower = signed_byte(denomination_of(big) - 1)
        coins = [lower + number.to_bytes(4, "big") for number in range(first, first + CHANGE_COUNT)]
        self._require_free(coins, Status.SN_NOT_AVAILABLE)
        changes = [Change(coin, pan, in_use=True) for coin, pan in zip(coins, pans, strict=True)]
        self._coins.store.write([*changes, _freed(big)])
        return Outcome(Status.SUCCESS)


def _freed(coin: bytes) -> Change:
    return Change(coin, secrets.token_bytes(AN_SIZE), in_use=False)
