"""What operators see of the servers: which answered the last echo, how fast, and when each last answered."""

import pytest

from lockers import tasks
from lockers.models import ServerHealth, ServerReading
from lockers.worker import echo
from tests.support.local_network import LocalNetwork

pytestmark = pytest.mark.django_db


def test_every_server_is_read_and_a_silent_one_keeps_its_last_answer(network: LocalNetwork) -> None:
    tasks.read_servers()
    first = {row.raida: row for row in ServerReading.objects.all()}
    assert sorted(first) == list(range(25))
    assert {(row.outcome, row.answered_at is None, row.latency_ms is None) for row in first.values()} == {
        ("answered", False, False)
    }

    network.fault(3, "silent")
    network.fault(5, "down")
    echo.read_servers()

    rows = {row.raida: row for row in ServerReading.objects.all()}
    assert (rows[3].outcome, rows[5].outcome, rows[4].outcome) == ("timeout", "refused", "answered")
    assert (rows[3].answered_at, rows[3].latency_ms) == (first[3].answered_at, first[3].latency_ms)
    assert rows[3].asked_at > rows[3].answered_at
    assert rows[4].answered_at > first[4].answered_at


def test_a_reading_decides_nothing(network: LocalNetwork) -> None:
    network.fault(3, "silent")

    echo.read_servers()

    assert not ServerHealth.objects.exists()
