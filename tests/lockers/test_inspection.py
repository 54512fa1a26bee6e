"""The audit that asks the servers: silent about truth, loud about a coin that is elsewhere."""

import dataclasses

from django.conf import settings
from django.core.management import call_command

from lockers import coin_secrets
from lockers import transport as wire
from lockers.localnet.fleet import LocalNetwork
from lockers.models import Coin
from lockers.raida.coins import Coin as WireCoin
from lockers.raida.commands import Command
from lockers.raida.payloads import CoinAnPan, encode_pown
from lockers.worker import reconciliation
from tests.lockers.conftest import Mint
from tests.lockers.test_put import give, put
from wallets.models import Wallet


def test_true_books_are_confirmed(network: LocalNetwork, mint: Mint, alice: Wallet) -> None:
    give(alice, mint(1, 0, 0, 0))
    put(alice, 11)

    assert list(reconciliation.server_findings()) == []
    call_command("audit", "--servers")


def test_twelve_servers_that_contradict_prove_nothing(network: LocalNetwork, mint: Mint, alice: Wallet) -> None:
    give(alice, mint(0, 0, 0, 0))
    network.fault(range(12), "wrong-secret")

    assert list(reconciliation.server_findings()) == []


def test_a_coin_that_somebody_else_powned_is_found(network: LocalNetwork, mint: Mint, alice: Wallet) -> None:
    give(alice, mint(0, 0, 0, 0))
    row = Coin.objects.order_by("id")[0]
    steal(row)

    findings = list(reconciliation.server_findings())

    assert [dataclasses.astuple(finding) for finding in findings] == [
        ("coin in a wallet is accepted by the servers", f"{row} is refused by 25")
    ]


def steal(row: Coin) -> None:
    coin = WireCoin(row.denomination, row.serial_number)
    held, fresh = coin_secrets.open_numbers(row.secrets, coin_id=row.pk), coin_secrets.fresh_numbers()
    payloads = {raida: encode_pown([CoinAnPan(coin, held[raida], fresh[raida])]) for raida in range(25)}
    servers = wire.servers_from_settings(settings.RAIDA_HOSTS)
    wire.ask(servers, wire.Call(command=Command.POWN, payloads=payloads), until=wire.within(5))


def test_a_coin_that_never_reached_its_locker_is_found(network: LocalNetwork, mint: Mint, alice: Wallet) -> None:
    give(alice, mint(0, 0, 0, 0))
    put(alice, 1, "CODE-ONE-OF-THE-TEST")
    locker = Coin.objects.get(state="locked").locker
    row = Coin.objects.filter(state="bank").order_by("id")[0]
    Coin.objects.filter(pk=row.pk).update(state="locked", locker=locker)

    (finding,) = reconciliation.server_findings()

    assert (finding.check, finding.detail) == ("coin in a locker was given to the servers", f"{row} never left, say 25")
