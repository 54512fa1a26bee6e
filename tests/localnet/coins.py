"""Mints coins on a local network, and sends commands to one server."""

import itertools
import secrets
from collections.abc import Mapping, Sequence

from lockers import transport as client
from lockers.localnet import minting
from lockers.raida.coins import Coin
from lockers.raida.commands import Command
from lockers.raida.encryption import Encryption
from lockers.raida.files import CoinRecord
from lockers.raida.statuses import RAIDA_COUNT
from lockers.transport import Answer, Call
from tests.localnet import requests
from tests.localnet.requests import CoinAn, CoinAnPan, CoinPan
from tests.support.local_network import LocalNetwork

SECONDS = 10.0

# No two tests of one network make the same coin.
_serial_numbers = itertools.count(500_000)


def new_coins(count: int, denomination: int = 0) -> list[Coin]:
    return [Coin(denomination, next(_serial_numbers)) for _ in range(count)]


def minted(network: LocalNetwork, count: int, denomination: int = 0) -> list[CoinRecord]:
    """Coins that only the caller knows the secrets of; at least four."""
    return minting.mint(network.servers, new_coins(count, denomination), network.admin_key)


def locker_key() -> bytes:
    return secrets.token_bytes(12) + b"\xff" * 4


def tell(
    network: LocalNetwork,
    raida: int,
    command: Command,
    payload: bytes = b"",
    *,
    encryption: Encryption | None = None,
    seconds: float = SECONDS,
) -> client.Result:
    call = Call(command, {raida: payload}, {raida: encryption} if encryption else {})
    return client.ask([network.servers[raida]], call, until=client.within(seconds))[raida]


def answer(network: LocalNetwork, raida: int, command: Command, payload: bytes = b"") -> tuple[int, bytes]:
    """Status and payload of what one server answers to a request in clear."""
    result = tell(network, raida, command, payload)
    assert isinstance(result, Answer), result
    return int(result.status), result.payload


def tell_all(network: LocalNetwork, command: Command, per_server: Mapping[int, bytes]) -> client.Results:
    return client.ask(network.servers, Call(command, per_server), until=client.within(SECONDS))


def put(records: Sequence[CoinRecord], raida: int, key: bytes) -> bytes:
    return requests.put([CoinAn(record.coin, record.ans[raida]) for record in records], key)


def remove(records: Sequence[CoinRecord], raida: int, key: bytes) -> bytes:
    """Take coins out of a locker with the secrets that they had before."""
    return requests.remove(key, [CoinPan(record.coin, record.ans[raida]) for record in records])


def detect(records: Sequence[CoinRecord], raida: int) -> bytes:
    return requests.detect([CoinAn(record.coin, record.ans[raida]) for record in records])


def detect_with(records: Sequence[CoinRecord], an: bytes) -> bytes:
    return requests.detect([CoinAn(record.coin, an) for record in records])


def pown(records: Sequence[CoinRecord], raida: int, pan: bytes) -> bytes:
    return requests.pown([CoinAnPan(record.coin, record.ans[raida], pan) for record in records])


def everywhere(payload: bytes) -> dict[int, bytes]:
    return dict.fromkeys(range(RAIDA_COUNT), payload)
