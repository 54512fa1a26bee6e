"""
Workers die, or sleep through their lease, at points of every kind of task that chance chooses.

All points, with the other blows, are gone through by `python -m tests.chaos.storm`. A failure is repeated by setting
COPPICE_CHAOS_SEED to the number that it prints.
"""

import os
import random
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from lockers import audit
from tests.chaos import blows
from tests.chaos.blows import Nursery
from tests.chaos.world import SCENES, World
from tests.support.local_network import LocalNetwork

pytestmark = pytest.mark.django_db(transaction=True)

SEED = int(os.environ.get("COPPICE_CHAOS_SEED") or time.time_ns() % 10**9)
# No task passes more; one that passes fewer ends before it is struck, which has to end well too.
POINTS = 40


@pytest.fixture
def children(transactional_db: None, network: LocalNetwork, tmp_path: Path) -> Iterator[Nursery]:
    with Nursery(tmp_path, network) as started:
        yield started


def test_every_kind_of_task_survives_two_deaths_and_a_sleeper(network: LocalNetwork, children: Nursery) -> None:
    chance = random.Random(SEED)
    world = World(network)
    for name, begin in SCENES.items():
        for strikes in ([blows.kill, blows.kill], [blows.stop_and_wake]):
            scene, points = begin(world), []
            for strike in strikes:
                worker = children.work(scene, hold=[chance.randrange(1, POINTS)])
                points.append(worker.next())
                if points[-1]["word"] == "held":
                    strike(children, scene, worker)
                worker.close()
                scene.expire_lease()
            where = f"seed {SEED}: {name}: {points}"
            blows.recover(children, scene)
            try:
                scene.assert_nothing_is_lost()
            except AssertionError as error:
                raise AssertionError(where) from error
    assert list(audit.audit_findings()) == []
