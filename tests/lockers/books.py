"""Compares the ledger's rows with the servers: what each server reports that it holds."""

from collections import Counter
from collections.abc import Iterable, Sequence

from django.conf import settings

from lockers import audit, tasks, transport, vault
from lockers.models import Coin, Locker, LockerTask
from lockers.operations.new_task import Started
from lockers.raida import codes
from lockers.raida.coins import Coin as WireCoin
from lockers.raida.commands import Command
from lockers.raida.payloads import decode_verdicts
from lockers.states import CoinState, TaskState
from tests.localnet import requests
from tests.localnet.requests import CoinAn
from tests.support.local_network import LocalNetwork
from wallets.models import Wallet


def finish(started: Started) -> LockerTask:
    """Work on a task as a worker would, and return it as it ended."""
    tasks.run(str(started.task.pk))
    task = LockerTask.objects.get(pk=started.task.pk)
    assert task.state != TaskState.RUNNING
    return task


def states(wallet: Wallet) -> dict[str, int]:
    """How many coins of the wallet are in each state."""
    return dict(Counter(Coin.objects.filter(wallet=wallet).values_list("state", flat=True)))


def holders(coin: WireCoin, numbers: tuple[bytes, ...]) -> int:
    """How many servers hold these 25 numbers of the coin."""
    return holders_of_each([(coin, numbers)])[0]


def holders_of_each(coins: Sequence[tuple[WireCoin, tuple[bytes, ...]]]) -> list[int]:
    """
    How many servers hold the 25 numbers of each coin; one question for all of them.

    Over the wire unless all are of this process and without faults.
    """
    payloads = {
        raida: requests.detect([CoinAn(coin, numbers[raida]) for coin, numbers in coins]) for raida in range(25)
    }
    network = LocalNetwork.running.get(tuple(settings.RAIDA_HOSTS))
    if network is not None and network.is_sound:
        given = [
            (each.status, each.payload or b"") for each in network.answers(Command.DETECT, list(payloads.values()))
        ]
    else:
        results = transport.ask(
            transport.servers_from_settings(settings.RAIDA_HOSTS),
            transport.Call(command=Command.DETECT, payloads=payloads),
            until=transport.within(5),
        )
        given = [(each.status, each.payload) for each in results.values() if isinstance(each, transport.Answer)]
    answers = [decode_verdicts(status, payload, count=len(coins)) for status, payload in given]
    return [sum(each) for each in zip(*answers, strict=True)] if answers else [0] * len(coins)


def assert_true_to_the_servers() -> None:
    """Assert that the servers confirm the row of every coin, and that the audit finds nothing."""
    assert list(audit.audit_findings()) == []
    assert_servers_hold(Coin.objects.all())


def assert_servers_hold(rows: Iterable[Coin]) -> None:
    """
    Assert that the servers confirm the rows of these coins.

    A coin that may be spent is held by at least as many servers as `pown` says, with the secrets in
    its row. A coin in a locker is held by 13 with the locker's keys.
    """
    claims = []
    for row in rows:
        if row.state in (CoinState.BANK, CoinState.FRACKED, CoinState.EXPORTED):
            numbers, least = vault.open_numbers(row.secrets, coin_id=row.pk), max(13, row.pown.count("p"))
        elif row.state == CoinState.LOCKED:
            locker = Locker.objects.get(pk=row.locker_id)
            numbers, least = tuple(codes.locker_keys(vault.locker_code(locker))), 13
        else:
            continue
        claims.append((row, WireCoin(row.denomination, row.serial_number), numbers, least))
    if claims:
        held = holders_of_each([(coin, numbers) for _, coin, numbers, _ in claims])
        contradictions = [
            f"{row} is {row.state}, its books say {row.pown}, and {count} servers hold it"
            for (row, _, _, least), count in zip(claims, held, strict=True)
            if count < least
        ]
        assert not contradictions, contradictions
