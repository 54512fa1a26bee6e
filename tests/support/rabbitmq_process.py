"""Debian's RabbitMQ, with a node, an Erlang port mapper and a directory of one test."""

import os
import shutil
import signal
import subprocess
import tempfile
import time
from pathlib import Path
from typing import Final, Self

import pytest
from amqp.exceptions import AMQPError
from kombu import Connection

from tests.support.redis_processes import free_port

_SCRIPT: Final = Path("/usr/lib/rabbitmq/bin/rabbitmq-server")
needs_rabbitmq = pytest.mark.skipif(
    not _SCRIPT.exists() or shutil.which("epmd") is None,
    reason="RabbitMQ is not here (Debian: apt-get install rabbitmq-server)",
)
_PATIENCE_SECONDS: Final = 120


class RabbitMQ:
    """A context manager: the server runs inside, and nothing is left after it."""

    def __enter__(self) -> Self:
        self._home = Path(tempfile.mkdtemp(prefix="coppice-rabbitmq-"))
        self._port, self._mapper_port = free_port(), free_port()
        self.url = f"amqp://guest:guest@127.0.0.1:{self._port}//"
        # In the foreground: the one that a node starts by itself survives it.
        self._mapper = subprocess.Popen(["epmd", "-port", str(self._mapper_port), "-address", "127.0.0.1"])
        self.start()
        return self

    def start(self) -> None:
        """Start a server without data. `wait` waits for it."""
        data = self._home / "data"
        shutil.rmtree(data, ignore_errors=True)
        (self._home / "conf").write_text(f"listeners.tcp.1 = 127.0.0.1:{self._port}\n")
        (self._home / "plugins").write_text("[].\n")
        environment = {
            "PATH": os.environ["PATH"],
            "HOME": str(self._home),
            "ERL_EPMD_PORT": str(self._mapper_port),
            "ERL_EPMD_ADDRESS": "127.0.0.1",
            "RABBITMQ_NODENAME": f"trees{self._port}@localhost",
            "RABBITMQ_NODE_PORT": str(self._port),
            "RABBITMQ_DIST_PORT": str(free_port()),
            "RABBITMQ_CONFIG_FILE": str(self._home / "conf"),
            "RABBITMQ_ENABLED_PLUGINS_FILE": str(self._home / "plugins"),
            "RABBITMQ_MNESIA_BASE": str(data),
            "RABBITMQ_LOG_BASE": str(self._home / "log"),
            # Two schedulers, and no busy waiting.
            "RABBITMQ_SERVER_ADDITIONAL_ERL_ARGS": "+S 2:2 +sbwt none",
        }
        with (self._home / "output").open("wb") as output:
            self._server = subprocess.Popen(
                [str(_SCRIPT)], env=environment, stdout=output, stderr=output, cwd=self._home, start_new_session=True
            )

    def wait(self) -> None:
        """Wait until the server accepts a login."""
        end = time.monotonic() + _PATIENCE_SECONDS
        while True:
            try:
                with Connection(self.url, connect_timeout=2) as connection:
                    connection.connect()
                    return
            except (OSError, AMQPError):
                assert self._server.poll() is None, self._said()
                assert time.monotonic() < end, self._said()
                time.sleep(0.1)

    def kill(self) -> None:
        """End the server as a machine that loses power does."""
        os.killpg(self._server.pid, signal.SIGKILL)
        self._server.wait(timeout=60)

    def _said(self) -> str:
        return (self._home / "output").read_text()[-3000:]

    def __exit__(self, *_: object) -> None:
        self.kill()
        self._mapper.kill()
        self._mapper.wait(timeout=60)
        shutil.rmtree(self._home, ignore_errors=True)
