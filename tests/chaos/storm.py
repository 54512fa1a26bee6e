"""
Every kind of task, cut off at every one of its points, by everything that can befall it.

    python -m tests.chaos.storm [--scene NAME]… [--blow NAME]… [--worker] [--web] [--failover] [--kills N]

`make storm` runs this after the whole of `test_outcomes`. Nothing here is left to chance but secrets and the order of
answers; a failure names its scene, its blow and its point, and the storm goes on. Ends with 1 if there was any.
"""

import argparse
import os
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Callable, Mapping
from functools import partial
from pathlib import Path
from typing import Any

import django
import pytest

from tests.benchmarks import machine

# Points are gone through until a task passes fewer; more than this many no task has.
_MOST_POINTS = 200


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m tests.chaos.storm", description=__doc__)
    parser.add_argument("--scene", action="append", default=[])
    parser.add_argument("--blow", action="append", default=[])
    parser.add_argument("--worker", action="store_true", help="only the product's own worker, with recovery times")
    parser.add_argument("--web", action="store_true", help="only the processes of the web server, under load")
    parser.add_argument("--failover", action="store_true", help="only the primary of PostgreSQL, under load")
    parser.add_argument("--kills", type=int, default=20, help="how many of them are killed")
    chosen = parser.parse_args()
    with machine.running() as running, tempfile.TemporaryDirectory() as directory:
        os.environ |= {"DJANGO_SETTINGS_MODULE": "config.settings.test", "COPPICE_LOG_LEVEL": "WARNING"}
        django.setup()
        return Storm(running, Path(directory)).run(chosen)


class Storm:
    """One storm over a database of its own that may be killed."""

    def __init__(self, running: machine.Machine, directory: Path) -> None:
        # These read Django's settings, which name the database only now.
        from django.conf import settings

        from tests.chaos import blows, outages, world
        from tests.lockers import patience
        from tests.support.local_network import LocalNetwork

        self.machine, self.directory = running, directory
        self.blows, self.outages, self.world, self.patience, self.settings = blows, outages, world, patience, settings
        self.network = LocalNetwork(directory / "raida", base_port=0)
        self.failures = 0

    def run(self, chosen: Any) -> int:
        begun = time.monotonic()
        if chosen.web:
            return self.strike_the_web(chosen.kills)
        with self.network as network, pytest.MonkeyPatch.context() as patch:
            self.settings.RAIDA_HOSTS = network.hosts
            self.settings.RAIDA_TIMEOUT_SECONDS = self.blows.DEADLINE_SECONDS
            self.patience.wait_by_condition(network, patch)
            if chosen.failover:
                return self.strike_the_primary(network)
            self.makes = self.world.World(network)
            if not chosen.worker:
                with self.blows.Nursery(self.directory, network) as children:
                    for scene in chosen.scene or self.world.SCENES:
                        for name, blow in self.all_blows().items():
                            if not chosen.blow or name in chosen.blow:
                                self.go_through(children, scene, name, blow)
            if chosen.worker or not (chosen.scene or chosen.blow):
                self.strike_the_product()
        if not (chosen.worker or chosen.scene or chosen.blow):
            self.failures += self.strike_the_web(chosen.kills)
        print(f"{self.failures} failures in {time.monotonic() - begun:,.0f} s")
        return min(1, self.failures)

    def strike_the_web(self, kills: int) -> int:
        """Kill processes of the web server under load, and return how many things were wrong."""
        from tests.chaos import web

        wrong = list(web.strike(self.machine, kills=kills, seed=kills))
        for each in wrong:
            print(f"FAILED web: {each}")
        sys.stdout.flush()
        return len(wrong)

    def strike_the_primary(self, network: Any) -> int:
        """Kill the primary under load, found dead at once and after 3 s, and return 1 if anything was wrong."""
        from tests.chaos import failover
        from tests.tables import empty_tables

        for number, (is_pooled, seconds) in enumerate([(True, 0.0), (True, 3.0), (False, 0.0), (False, 3.0)]):
            empty_tables()
            directory = self.directory / f"failover-{number}"
            directory.mkdir()
            shown, wrong = failover.strike(network, directory, is_pooled=is_pooled, detection_seconds=seconds)
            print(f"{'PgBouncer' if is_pooled else 'two hosts'}, found dead after {seconds:.0f} s: {shown}")
            for each in wrong:
                print(f"FAILED failover: {each}")
            sys.stdout.flush()
            self.failures += len(wrong)
        return min(1, self.failures)

    def all_blows(self) -> Mapping[str, Callable[..., None]]:
        blows = self.blows
        return {
            "kill": blows.kill,
            "rival": blows.let_another_take,
            "stop": blows.stop_and_wake,
            "postgres": partial(blows.restart_postgres, self.machine.restart_postgres),
            "restart": blows.restart_servers,
            "forget": blows.restart_servers_that_forget,
            "down": blows.kill_servers,
            "crash": blows.kill_servers_after_work,
        }

    def go_through(self, children: Any, scene_name: str, blow_name: str, blow: Callable[..., None]) -> None:
        """Strike a task of the kind at each of its points, one task for each point."""
        from lockers import audit, models

        begun, ended = time.monotonic(), Counter[str]()
        for point in range(1, _MOST_POINTS):
            # The sweep's echoes would find servers well that an earlier blow struck.
            models.ServerHealth.objects.all().delete()
            try:
                scene = self.world.SCENES[scene_name](self.makes)
            except Exception as error:
                self.failures += 1
                print(f"FAILED {scene_name}, {blow_name}: no scene for point {point}: {error!r}"[:2000])
                break
            worker = children.work(scene, hold=[point])
            word = worker.next()
            if word["word"] == "held":
                try:
                    print(scene_name, blow_name, point, word["name"], file=sys.stderr)
                    blow(children, scene, worker)
                    self.blows.recover(children, scene)
                    scene.assert_nothing_is_lost()
                    ended[scene.state()] += 1
                except Exception as error:
                    self.failures += 1
                    ended["FAILED"] += 1
                    print(f"FAILED {scene_name}, {blow_name} at point {point}, {word['name']}: {error!r}"[:2000])
                self.network.clear()
            worker.close()
            if word["word"] != "held":
                break
        findings = list(audit.audit_findings())
        if findings:
            self.failures += 1
            print(f"FAILED {scene_name}, {blow_name}: the audit found {findings[:5]}")
        print(f"{scene_name:28} {blow_name:10} {point - 1:4} points  {dict(ended)}  {time.monotonic() - begun:.0f} s")
        sys.stdout.flush()

    def strike_the_product(self) -> None:
        """The product's own worker, its sweep and its leases in real time."""
        with self.outages.workers(self.network, self.directory) as start:
            for name, seconds in self.outages.of_everything(self.makes, start, self.machine):
                print(f"{name:45} final after {seconds:5.1f} s")
                sys.stdout.flush()


if __name__ == "__main__":
    sys.exit(main())
