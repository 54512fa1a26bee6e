"""Commands of a wallet about its coins, and what may happen on the way to the servers."""

import dataclasses
from collections.abc import Callable, Collection, Iterator
from contextlib import contextmanager
from datetime import timedelta
from typing import Any

import pytest
from django.conf import settings
from django.db.models.functions import Now

from lockers import transport as wire
from lockers import vault
from lockers.models import Coin, LockerTask
from lockers.operations import find as find_coins
from lockers.operations import import_files
from lockers.operations import put as put_coins
from lockers.raida.coins import UNITS_PER_COIN
from lockers.raida.coins import Coin as WireCoin
from lockers.raida.commands import Command
from lockers.raida.files import CoinRecord, write_bin
from lockers.raida.frames import Request
from lockers.raida.statuses import Status
from lockers.transport import Call
from lockers.worker import break_coin
from tests.localnet import requests
from tests.localnet.requests import CoinAnPan, RequestHeader
from tests.lockers.books import finish
from tests.support.local_network import LocalNetwork
from wallets.models import Wallet


def give(wallet: Wallet, records: list[CoinRecord]) -> None:
    task = finish(import_files.start(actor=wallet, name=wallet.name, uploads=[("coins.bin", write_bin(records))]))
    assert task.state == "completed", task.message


def put(wallet: Wallet, amount: int, code: str | None = None) -> LockerTask:
    return finish(
        put_coins.start(actor=wallet, name=wallet.name, units=amount * UNITS_PER_COIN, tag="rent", transmit_code=code)
    )


def refuse_puts(monkeypatch: pytest.MonkeyPatch, raidas: Collection[int]) -> None:
    """Let servers answer puts, and nothing else, with a refusal."""
    ask = wire.ask

    def ask_others(servers: Any, call: wire.Call, **how: Any) -> wire.Results:
        if call.command is not Command.PUT:
            return ask(servers, call, **how)
        refusals = {raida: wire.Answer(raida, Status.ALL_FAIL, b"", 0.0) for raida in raidas if raida in call.payloads}
        others = {raida: payload for raida, payload in call.payloads.items() if raida not in raidas}
        return ask(servers, dataclasses.replace(call, payloads=others), **how) | refusals

    monkeypatch.setattr(wire, "ask", ask_others)


def find(wallet: Wallet) -> LockerTask:
    # As if so long had passed that no packet of the put can still be under way.
    Coin.objects.filter(wallet=wallet).update(changed_at=Now() - timedelta(minutes=1))
    return finish(find_coins.start(actor=wallet, name=wallet.name))


@contextmanager
def after_the_intent(happens: Callable[[], object]) -> Iterator[None]:
    """Let something happen when the ten coins of a break are committed, and nothing is sent yet."""
    propose = break_coin.propose

    def propose_and_let_it_happen(**asked: Any) -> bool:
        done = propose(**asked)
        happens()
        return done

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(break_coin, "propose", propose_and_let_it_happen)
        yield


def steal(row: Coin) -> None:
    coin = WireCoin(row.denomination, row.serial_number)
    held, fresh = vault.open_numbers(row.secrets, coin_id=row.pk), vault.fresh_numbers()
    payloads = {raida: requests.pown([CoinAnPan(coin, held[raida], fresh[raida])]) for raida in range(25)}
    servers = wire.servers_from_settings(settings.RAIDA_HOSTS)
    wire.ask(servers, wire.Call(command=Command.POWN, payloads=payloads), until=wire.within(5))


class Died(Exception):
    """The worker is gone."""


class Delayed:
    """Keeps the requests of one command back on the way, and lets them arrive when it is told to."""

    def __init__(
        self,
        network: LocalNetwork,
        command: Command,
        monkeypatch: pytest.MonkeyPatch,
        raidas: Collection[int] = range(25),
    ) -> None:
        self._network = network
        self._kept: list[Call] = []
        ask = wire.ask

        def keep_back(servers: Any, call: Call, **how: Any) -> wire.Results:
            if call.command is not command:
                return ask(servers, call, **how)
            kept = {raida: payload for raida, payload in call.payloads.items() if raida in raidas}
            others = {raida: payload for raida, payload in call.payloads.items() if raida not in raidas}
            self._kept.append(dataclasses.replace(call, payloads=kept))
            silences = {raida: wire.NoResponse(raida, "timeout", sent=True) for raida in kept}
            return ask(servers, dataclasses.replace(call, payloads=others), **how) | silences

        self._ask = ask
        monkeypatch.setattr(wire, "ask", keep_back)

    def arrive(self) -> list[int]:
        """Return the statuses with which the servers answer."""
        statuses = []
        for call in self._kept:
            results = self._ask(self._network.servers, call, until=wire.within(20))
            statuses += [int(each.status) for each in results.values() if isinstance(each, wire.Answer)]
        self._kept.clear()
        return statuses


def half_swapped(record: CoinRecord) -> CoinRecord:
    other = vault.fresh_numbers()
    mixed = range(25)
    return dataclasses.replace(
        record,
        ans=tuple(record.ans[raida] if raida % 2 else other[raida] for raida in mixed),
        pans=tuple(other[raida] if raida % 2 else record.ans[raida] for raida in mixed),
    )


@contextmanager
def listening(monkeypatch: pytest.MonkeyPatch) -> Iterator[list[bytes]]:
    """The bytes of every request, as an eavesdropper reads them."""
    heard: list[bytes] = []
    encode = Request.encode

    def encode_and_listen(request: Request) -> bytes:
        heard.append(encode(request))
        return heard[-1]

    with monkeypatch.context() as patch:
        patch.setattr(Request, "encode", encode_and_listen)
        yield heard


def kinds(heard: list[bytes], command: Command) -> list[int]:
    headers = [RequestHeader.decode(data) for data in heard]
    return [one.encryption_kind for one in headers if (one.group, one.code) == command.value]
