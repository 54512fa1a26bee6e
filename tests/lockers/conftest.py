"""A local RAIDA network for the whole run, wallets, and coins of the network."""

import secrets
import threading
import time
from collections.abc import Callable, Iterator
from functools import partial
from itertools import count
from pathlib import Path
from typing import Any

import pytest
from django.db import connection

from lockers import server_request
from lockers.localnet import minting
from lockers.raida import codes
from lockers.raida.authenticity import created_an
from lockers.raida.coins import Coin
from lockers.raida.commands import Command
from lockers.raida.files import CoinRecord
from lockers.raida.payloads import encode_create_coins, encode_records
from lockers.raida.statuses import RAIDA_COUNT, Status
from lockers.worker import listening
from tests.lockers.patience import wait_by_condition
from tests.support.counts import forget_counts
from tests.support.local_network import LocalNetwork
from wallets import operations as wallets
from wallets.models import Wallet

# Breaks take the lowest numbers that are free.
_serial_numbers = count(100_000)

Mint = Callable[..., list[CoinRecord]]


@pytest.fixture(scope="session")
def running_network(tmp_path_factory: pytest.TempPathFactory) -> Iterator[LocalNetwork]:
    with LocalNetwork(Path(tmp_path_factory.mktemp("raida")), base_port=0) as network:
        yield network


@pytest.fixture
def network(running_network: LocalNetwork, settings: Any, monkeypatch: pytest.MonkeyPatch) -> Iterator[LocalNetwork]:
    """25 servers without faults; tests wait for them by condition (`tests.lockers.patience`)."""
    settings.RAIDA_HOSTS = running_network.hosts
    settings.RAIDA_TIMEOUT_SECONDS = 0.5
    monkeypatch.setattr(server_request, "_lagging", set())
    wait_by_condition(running_network, monkeypatch)
    running_network.forget_seen()
    written: list[Any] = []
    write = listening._Writer._write

    def write_and_note(*late: Any) -> None:
        written.append(late)
        write(*late)

    monkeypatch.setattr(listening._Writer, "_write", staticmethod(write_and_note))
    yield running_network
    running_network.clear()
    # Deadlines of minutes are common here: who still listens then would write into the rows of another test.
    for hearing in list(listening._open):
        hearing.drop()
    listening._open.clear()
    while not listening._writer.is_idle():
        time.sleep(0.01)
    if written:
        forget_health()
    # An answer that is held back for long would keep the next test waiting for it.
    for raida in range(len(running_network.servers)):
        for answering in list(running_network.fleet.server(raida)._tasks):
            running_network._loop.call_soon_threadsafe(answering.cancel)


def forget_health() -> None:
    """Delete what the writer of late answers has committed on its own connection, also if the test is rolled back."""

    def delete() -> None:
        with connection.cursor() as cursor:
            cursor.execute(
                "DELETE FROM lockers_serverhealth WHERE raida IN ("
                "SELECT raida FROM lockers_serverhealth FOR UPDATE SKIP LOCKED)"
            )
        connection.close()

    deleting = threading.Thread(target=delete)
    deleting.start()
    deleting.join()


@pytest.fixture
def mint(network: LocalNetwork) -> Mint:
    return partial(mint_on, network)


def mint_on(network: LocalNetwork, *denominations: int) -> list[CoinRecord]:
    """Make a coin of each denomination; the network makes at least four, so some may be spare."""
    wanted = list(denominations) + [0] * max(0, 4 - len(denominations))
    coins = [Coin(denomination, next(_serial_numbers)) for denomination in wanted]
    if network.is_sound:
        return _minted(network, coins)[: len(denominations)]
    return minting.mint(network.servers, coins, network.admin_key)[: len(denominations)]


def _minted(network: LocalNetwork, coins: list[Coin]) -> list[CoinRecord]:
    """As `minting.mint` makes them, by the same commands."""
    listed = [coin.to_bytes() for coin in coins]
    numbers = [[minting.fresh_an() for _ in coins] for _ in range(RAIDA_COUNT)]
    creation = encode_create_coins(coins, network.admin_key)
    created = network.answers(Command.CREATE_COINS, [creation] * RAIDA_COUNT)
    powns = [
        encode_records(listed, [created_an(raida=raida, coin=coin, created=coins) for coin in coins], numbers[raida])
        for raida in range(RAIDA_COUNT)
    ]
    owned = network.answers(Command.POWN, powns)
    assert {answer.status for answer in created} == {Status.SUCCESS}
    assert {answer.status for answer in owned} == {Status.ALL_PASS}
    return [
        CoinRecord(coin, tuple(each[position] for each in numbers), pown="p" * RAIDA_COUNT)
        for position, coin in enumerate(coins)
    ]


@pytest.fixture
def no_wrong_codes() -> Iterator[None]:
    """Begin, and end, without wrong codes and new wallets that were counted."""
    forget_counts()
    yield
    forget_counts()


@pytest.fixture
def code() -> str:
    """A transmit code that no other test uses: the network outlives a test, and so does what is left in lockers."""
    return codes.generate_code(secrets.token_bytes(codes.RANDOM_SIZE))


@pytest.fixture
def alice(db: None) -> Wallet:
    return wallets.create_wallet(name="alice", password="correct horse")


@pytest.fixture
def bob(db: None) -> Wallet:
    return wallets.create_wallet(name="bob", password="battery staple")


@pytest.fixture
def charlie(db: None) -> Wallet:
    return wallets.create_wallet(name="charlie", password="another one")
