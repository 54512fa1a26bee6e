"""The coins of one server of the local network, and the checks that several commands share."""

from collections.abc import Iterable
from typing import Final

from lockers.localnet.store import CoinStore
from lockers.localnet.wire import Refused
from lockers.raida.authenticity import AN_SIZE, xor_sum
from lockers.raida.coins import COIN_SIZE
from lockers.raida.statuses import Status

# Rows of a coin and its AN, and of a coin, its AN and its PAN.
COIN_AN: Final = COIN_SIZE + AN_SIZE
COIN_AN_PAN: Final = COIN_SIZE + 2 * AN_SIZE


class CoinBook:
    """
    The coins in `store`, named by their five bytes on the wire.

    `legacy_bugs` copies defects of the recorded server (see `bookkeeping`). While `holds_wrong_secrets` is set, the
    server holds a wrong AN for each coin.
    """

    def __init__(self, store: CoinStore, *, legacy_bugs: bool) -> None:
        self.store = store
        self.legacy_bugs = legacy_bugs
        self.holds_wrong_secrets = False

    def an(self, coin: bytes) -> bytes:
        """Return the AN of a coin that the store knows."""
        an = self.store.an(coin)
        return bytes(byte ^ 0xA5 for byte in an) if self.holds_wrong_secrets else an

    def ans(self, coins: list[bytes]) -> list[bytes]:
        """Return the ANs of coins that the store knows."""
        return list(map(self.an, coins)) if self.holds_wrong_secrets else self.store.ans(coins)

    def holds(self, coin: bytes, an: bytes) -> bool:
        """Whether this is the AN of the coin."""
        return self.store.knows(coin) and self.an(coin) == an

    def set_all(self, coins: list[bytes], an: bytes) -> None:
        """Give the same AN to all coins."""
        self.store.write_alike(coins, an)

    def has_forbidden_duplicates(self, coins: list[bytes]) -> bool:
        """Whether a coin is listed twice where that is refused."""
        return not self.legacy_bugs and len(set(coins)) < len(coins)

    def require_known(self, coins: Iterable[bytes]) -> None:
        """
        Refuse coins that cannot exist.

        :raises Refused: status 40
        """
        if not self.store.knows_all(coins):
            raise Refused(Status.INVALID_SN_OR_DENOMINATION)

    def sum_is_right(self, coins: list[bytes], total: bytes) -> bool:
        """Whether `total` is the XOR of the ANs of all coins, each listed once."""
        return not self.has_forbidden_duplicates(coins) and xor_sum(self.ans(coins)) == total
