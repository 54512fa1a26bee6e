"""Redis-protocol servers and sentinels of one test, on ports of the loopback interface."""

import subprocess
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from pathlib import Path

import redis

from config.dev.private_servers import Valkey
from tests.ports import reserved_port

PATIENCE_SECONDS = 60


def wait_until(true: Callable[[], bool]) -> None:
    end = time.monotonic() + PATIENCE_SECONDS
    while not true():
        assert time.monotonic() < end
        time.sleep(0.05)


def free_port() -> int:
    """Return a port that is held no longer: the server that gets it shares it with none."""
    with reserved_port() as port:
        return port


def answers(port: int) -> bool:
    try:
        with redis.Redis(port=port) as client:
            return bool(client.ping())
    except redis.RedisError:
        return False


def is_primary(port: int) -> bool:
    with redis.Redis(port=port) as client:
        return bool(client.info("replication")["role"] == "master")


@dataclass
class Servers:
    """Starts servers, and ends them with `end`."""

    directory: Path
    processes: dict[int, "subprocess.Popen[bytes]"] = field(default_factory=dict)

    def start(self, *options: str, text: str | None = None) -> int:
        """Start a server with the options, or a sentinel with this configuration; return its port."""
        program, _ = Valkey(self.directory).program()
        port = free_port()
        directory = self.directory / str(port)
        directory.mkdir()
        arguments = ["--port", str(port), "--bind", "127.0.0.1", "--dir", str(directory), "--save", ""]
        if text is not None:
            (directory / "conf").write_text(text)
            arguments = [str(directory / "conf"), *arguments[:6], "--sentinel"]
        with (directory / "log").open("wb") as log:
            self.processes[port] = subprocess.Popen([program, *arguments, *options], stdout=log, stderr=log)
        wait_until(lambda: answers(port))
        return port

    def kill(self, port: int) -> None:
        self.processes[port].kill()
        self.processes[port].wait(timeout=60)

    def end(self) -> None:
        for process in self.processes.values():
            process.terminate()
        for process in self.processes.values():
            process.wait(timeout=60)


@contextmanager
def servers(directory: Path) -> Iterator[Servers]:
    with ExitStack() as stack:
        running = Servers(directory)
        stack.callback(running.end)
        yield running


@dataclass
class Watched:
    """A primary with a replica, and a sentinel that promotes the replica a second after the primary's death."""

    servers: Servers
    primary: int = 0
    replica: int = 0
    sentinel: int = 0

    def __post_init__(self) -> None:
        self.primary = self.servers.start()
        self.replica = self.servers.start("--replicaof", "127.0.0.1", str(self.primary))
        self.sentinel = self.servers.start(
            text=f"sentinel monitor trees 127.0.0.1 {self.primary} 1\nsentinel down-after-milliseconds trees 1000\n"
            "sentinel failover-timeout trees 2000\n"
        )
        with redis.Redis(port=self.sentinel) as asked:
            wait_until(lambda: len(asked.sentinel_slaves("trees")) == 1)  # type: ignore[arg-type]
            wait_until(lambda: asked.sentinel_slaves("trees")[0]["master-link-status"] == "ok")  # type: ignore[index]

    def url(self, database: int = 0) -> str:
        return f"redis+sentinel://127.0.0.1:{self.sentinel}/trees/{database}"

    def fail_over(self) -> None:
        """Kill the primary, and return when the replica was promoted."""
        self.servers.kill(self.primary)
        wait_until(lambda: is_primary(self.replica))
