"""The product's own worker, or its broker, is killed while a command is out: what was begun is done, by itself."""

import tempfile
from collections.abc import Callable
from pathlib import Path
from signal import SIGSTOP

import pytest

from config.dev.embedded import redis_url
from config.dev.private_servers import Valkey
from config.dev.processes import Children
from lockers import audit
from tests.chaos import outages
from tests.chaos.world import World
from tests.support.local_network import LocalNetwork


@pytest.mark.django_db(transaction=True)
def test_what_a_worker_leaves_undone_is_done_within_seconds(
    network: LocalNetwork, tmp_path: Path, record_property: Callable[[str, object], None]
) -> None:
    with outages.workers(network, tmp_path) as start:
        for name, seconds in outages.of_workers(World(network), start):
            record_property(name, round(seconds, 1))
    assert list(audit.audit_findings()) == []


@pytest.mark.django_db(transaction=True)
def test_a_broker_that_is_killed_ends_no_worker(
    network: LocalNetwork, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    # Of its own: others that run now need theirs. Its path must be short enough for a socket.
    with tempfile.TemporaryDirectory(prefix="coppice-tests-") as state, Children(Path(state)) as children:
        broker = Valkey(Path(state))
        broker.start(children)
        monkeypatch.setenv("REDIS_URL", redis_url(Path(state)))
        with outages.workers(network, tmp_path) as start:
            worker = start()
            worker.signal(SIGSTOP)
            outages.of_a_lost_broker(World(network), worker, lambda: outages.lose_memory(broker, children))
    assert list(audit.audit_findings()) == []
