"""The product's own Celery worker, with its own beat, over the test database: to be killed."""

import os
import shlex
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

from celery import current_app
from kombu.exceptions import OperationalError

from tests.support.databases import database_url
from tests.support.local_network import LocalNetwork

# With servers, and of a test with the worker.
DEADLINE_SECONDS = 2.5
PATIENCE_SECONDS = 120.0
# As beat has it.
SWEEP_SECONDS = 2.0


class Worker:
    """A worker process and its pool of children, in one process group."""

    def __init__(self, network: LocalNetwork, directory: Path, *, has_beat: bool = True) -> None:
        """
        Start it, with beat in the same group.

        Without beat nothing is done on a schedule but the sweep, without which a lost message would end in a task that
        waits for ever. A thread of the test publishes it.
        """
        environment = os.environ | {
            "DATABASE_URL": database_url(),
            "DJANGO_SETTINGS_MODULE": "config.settings.test",
            "COPPICE_LOG_LEVEL": "INFO",
            "COPPICE_RAIDA_HOSTS": ",".join(network.hosts),
            "COPPICE_RAIDA_TIMEOUT_SECONDS": str(DEADLINE_SECONDS),
        }
        directory.mkdir()
        self.log = directory / "worker.log"
        celery = f"{shlex.quote(sys.executable)} -m celery -A config"
        worker = f"exec {celery} worker -c 2 -l info --without-gossip --without-mingle"
        beat = f"{celery} beat -l info --pidfile= & " if has_beat else ""
        with self.log.open("ab") as log:
            self._process = subprocess.Popen(
                ["sh", "-c", beat + worker],
                env=environment,
                stdout=log,
                stderr=log,
                start_new_session=True,
            )
        self._stopped = threading.Event()
        self._sweeps = threading.Thread(target=self._sweep, name="sweeps", daemon=True)
        if not has_beat:
            self._sweeps.start()

    def _sweep(self) -> None:
        while not self._stopped.wait(SWEEP_SECONDS):
            with suppress(OperationalError):
                current_app.send_task("lockers.sweep", retry=False, ignore_result=True, expires=SWEEP_SECONDS)

    def signal(self, number: signal.Signals) -> None:
        """Send a signal to the worker and all its children at once."""
        os.killpg(self._process.pid, number)

    def kill_child_at_work(self) -> None:
        """Kill the child that talks to the servers: the one with by far the most sockets open."""
        pid = self._process.pid
        children = Path(f"/proc/{pid}/task/{pid}/children").read_text().split()
        os.kill(int(max(children, key=lambda child: len(os.listdir(f"/proc/{child}/fd")))), signal.SIGKILL)

    def wait_until(self, true: Callable[[], bool]) -> None:
        """Wait for a condition; a worker for which it never comes true is asked for its log."""
        end = time.monotonic() + PATIENCE_SECONDS
        while not true():
            assert time.monotonic() < end, self.log.read_text()[-3000:]
            # Not more often: most conditions ask the database.
            time.sleep(0.05)

    @property
    def is_alive(self) -> bool:
        return self._process.poll() is None

    def kill(self) -> None:
        self.signal(signal.SIGKILL)
        self._process.wait(timeout=60)

    def stop(self) -> None:
        self._stopped.set()
        if self._sweeps.is_alive():
            self._sweeps.join()
        if self.is_alive:
            self.kill()
