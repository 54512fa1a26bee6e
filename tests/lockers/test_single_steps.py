"""Single steps of a worker, with rows and answers of servers that are written by the test. No server is asked."""

from collections.abc import Mapping
from typing import Any

import pytest
from django.db.models import F

from lockers import transport
from lockers.models import Coin
from lockers.operations import find as find_coins
from lockers.raida.commands import Command
from lockers.raida.statuses import Status
from lockers.worker import fix, put, task_store
from lockers.worker.broadcast import TaskRun
from tests.lockers.marks import at
from tests.lockers.stock import stock
from wallets.models import Wallet

Said = Mapping[int, tuple[Status, bytes]]


class Servers:
    """Answers calls with what the test has them say; servers that say nothing are silent."""

    def __init__(self) -> None:
        self.says: dict[Command, Said] = {}
        self.asked: list[Command] = []

    def ask(self, servers: Any, call: transport.Call, **how: Any) -> transport.Results:
        self.asked.append(call.command)
        said = self.says.get(call.command, {})
        return {
            raida: transport.Answer(raida, *said[raida], 0.0)
            if raida in said
            else transport.NoResponse(raida, "timeout", sent=True)
            for raida in call.payloads
        }


@pytest.fixture
def servers(monkeypatch: pytest.MonkeyPatch) -> Servers:
    made = Servers()
    monkeypatch.setattr(transport, "ask", made.ask)
    return made


@pytest.fixture
def finding(alice: Wallet) -> TaskRun:
    """A worker that finds two coins of alice."""
    stock(alice, 0, 0)
    Coin.objects.update(state="limbo", proposed=F("secrets"))
    task = find_coins.start(actor=alice, name="alice").task
    held = task_store.claim(task_id=task.pk)
    assert held is not None
    return TaskRun(held, task)


@pytest.mark.parametrize("releasing", [True, False])
def test_fresh_numbers_on_their_way_are_not_taken_for_the_key_of_a_locker(
    releasing: bool, finding: TaskRun, servers: Servers
) -> None:
    """What 12 servers have of a release is not removed again as if a put had stored it."""
    Coin.objects.update(releasing=releasing, outcome=at("p12 x13"))

    put.take_back(finding, [0])

    assert (servers.asked == []) is releasing


def test_each_server_votes_for_the_coins_that_it_confirms(finding: TaskRun, servers: Servers) -> None:
    """A server gives one ticket for a batch, also where it refuses some of the coins."""
    fracked = fix._load(finding.held, 0)
    for coin in fracked:
        coin.piece.pown = at("p24 f1")
    both, first = (Status.ALL_PASS, b"\0\0\0\7"), (Status.MIXED, b"\x01\0\0\0\7")
    servers.says[Command.GET_TICKET] = {raida: both if raida < 12 else first for raida in range(25)}

    tickets, votes = fix._get_tickets(finding, 0, fracked)

    assert (tickets, votes) == ((7,) * 24 + (0,), {0: 24, 1: 12})
