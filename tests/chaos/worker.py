"""The product's own Celery worker, with its own beat, over the test database: to be killed."""

import os
import shlex
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

from tests.api.web_server import database_url
from tests.support.local_network import LocalNetwork

# With servers, and of a test with the worker.
DEADLINE_SECONDS = 2.5
PATIENCE_SECONDS = 120.0


class Worker:
    """A worker process, its pool of children and beat, in one process group."""

    def __init__(self, network: LocalNetwork, directory: Path) -> None:
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
        worker = f"{celery} worker -c 2 -l info --without-gossip --without-mingle"
        with self.log.open("ab") as log:
            self._process = subprocess.Popen(
                ["sh", "-c", f"{celery} beat -l info --pidfile= & exec {worker}"],
                env=environment,
                stdout=log,
                stderr=log,
                start_new_session=True,
            )

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
        if self.is_alive:
            self.kill()
