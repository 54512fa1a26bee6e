"""The product's own worker is killed, and put to sleep, while a command is out: others go on, by themselves."""

from collections.abc import Callable
from pathlib import Path

import pytest

from lockers import queries
from lockers.localnet.fleet import LocalNetwork
from tests.chaos import outages
from tests.chaos.world import World


@pytest.mark.django_db(transaction=True)
def test_what_a_worker_leaves_undone_is_done_within_seconds(
    network: LocalNetwork, tmp_path: Path, record_property: Callable[[str, object], None]
) -> None:
    with outages.workers(network, tmp_path) as start:
        for name, seconds in outages.of_workers(World(network), start):
            record_property(name, round(seconds, 1))
    assert list(queries.audit_findings()) == []
