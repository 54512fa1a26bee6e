"""The books against the servers: what each server says that it holds, asked over the wire."""

from collections import Counter

from django.conf import settings

from lockers import network, queries, secrecy, tasks
from lockers.models import Coin, Locker, LockerTask
from lockers.operations import Started
from lockers.raida import codes
from lockers.raida.coins import Coin as WireCoin
from lockers.raida.commands import Command
from lockers.raida.payloads import CoinAn, decode_verdicts, encode_detect
from lockers.states import CoinState, TaskState
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
    payloads = {raida: encode_detect([CoinAn(coin, numbers[raida])]) for raida in range(25)}
    results = network.ask(
        network.servers_from_settings(settings.RAIDA_HOSTS),
        network.Call(command=Command.DETECT, payloads=payloads),
        until=network.within(5),
    )
    return sum(
        isinstance(result, network.Answer) and decode_verdicts(result.status, result.payload, count=1)[0]
        for result in results.values()
    )


def assert_true_to_the_servers() -> None:
    """
    Whatever the books say of a coin, its servers say too, and the audit finds nothing.

    A coin that may be spent is held by at least as many servers as `pown` says, with the secrets in
    its row. A coin in a locker is held by 13 with the locker's keys.
    """
    assert list(queries.audit_findings()) == []
    for row in Coin.objects.all():
        coin = WireCoin(row.denomination, row.serial_number)
        if row.state in (CoinState.BANK, CoinState.FRACKED):
            held = holders(coin, secrecy.open_numbers(row.secrets, coin_id=row.pk))
            assert held >= max(13, row.pown.count("p")), f"{coin} is held by {held}, books say {row.pown}"
        elif row.state == CoinState.LOCKED:
            locker = Locker.objects.get(pk=row.locker_id)
            held = holders(coin, tuple(codes.locker_keys(secrecy.locker_code(locker))))
            assert held >= 13, f"{coin} is in the locker on {held} servers only"
