"""The audit that asks the servers: no finding for correct rows, one for a coin that is elsewhere."""

import dataclasses

from django.core.management import call_command

from lockers.models import Coin
from lockers.worker import reconciliation
from tests.lockers.conftest import Mint
from tests.support.coin_commands import give, put, steal
from tests.support.local_network import LocalNetwork
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


def test_a_coin_that_another_owner_powned_is_found(network: LocalNetwork, mint: Mint, alice: Wallet) -> None:
    give(alice, mint(0, 0, 0, 0))
    row = Coin.objects.order_by("id")[0]
    steal(row)

    findings = list(reconciliation.server_findings())

    assert [dataclasses.astuple(finding) for finding in findings] == [
        ("coin in a wallet is accepted by the servers", f"{row} is refused by 25")
    ]


def test_a_coin_that_never_reached_its_locker_is_found(network: LocalNetwork, mint: Mint, alice: Wallet) -> None:
    give(alice, mint(0, 0, 0, 0))
    put(alice, 1, "CODE-ONE-OF-THE-TEST")
    locker = Coin.objects.get(state="locked").locker
    row = Coin.objects.filter(state="bank").order_by("id")[0]
    Coin.objects.filter(pk=row.pk).update(state="locked", locker=locker)

    (finding,) = reconciliation.server_findings()

    assert (finding.check, finding.detail) == ("coin in a locker was given to the servers", f"{row} never left, say 25")
