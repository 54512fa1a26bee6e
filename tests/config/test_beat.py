"""Several beats: one leads and publishes, and another takes over within seconds after its death, or its silence."""

import os
import signal
import socket
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, nullcontext
from pathlib import Path

import orjson
import psycopg
import pytest
import redis

from config.beat import RENEW_SECONDS
from config.dev.embedded import ROOT, redis_url
from config.dev.private_servers import Valkey
from config.dev.processes import Children
from config.ops.redis_status import QUEUE_KEY
from tests import pooler
from tests.support.databases import database_url

PATIENCE_SECONDS = 60
# Whether the leader's transaction delays no VACUUM: it has no id, and its snapshot is new.
_HOLDERS = """
    SELECT backend_xid IS NULL, coalesce(backend_xmin::text::bigint >= %s, true)
      FROM pg_locks JOIN pg_stat_activity USING (pid)
     WHERE locktype = 'advisory' AND database = (SELECT oid FROM pg_database WHERE datname = current_database())
"""


class Proxy:
    """Stands between the beats and the broker, and can hold back the answers of the broker."""

    def __init__(self, broker: Path) -> None:
        self._broker = str(broker)
        self._passes = threading.Event()
        self._passes.set()
        self._publishes = threading.Event()
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.url = f"redis://127.0.0.1:{self._listener.getsockname()[1]}/0"
        threading.Thread(target=self._accept, daemon=True).start()

    def hold_an_answer(self) -> None:
        """Return when a beat waits for the answer to a message that it has published."""
        self._passes.clear()
        self._publishes.clear()
        assert self._publishes.wait(PATIENCE_SECONDS)
        # It has sent the request. Now it reads the answer, for two seconds.
        time.sleep(0.2)

    def pass_answers(self) -> None:
        self._passes.set()

    def close(self) -> None:
        self._passes.set()
        self._listener.close()

    def _accept(self) -> None:
        while True:
            try:
                client, _ = self._listener.accept()
            except OSError:
                return
            server = socket.socket(socket.AF_UNIX)
            server.connect(self._broker)
            threading.Thread(target=self._ask, args=(client, server), daemon=True).start()
            threading.Thread(target=self._answer, args=(server, client), daemon=True).start()

    def _ask(self, client: socket.socket, server: socket.socket) -> None:
        with client, server:
            while request := _received(client):
                server.sendall(request)
                if b"LPUSH" in request:
                    self._publishes.set()

    def _answer(self, server: socket.socket, client: socket.socket) -> None:
        while answer := _received(server):
            self._passes.wait()
            try:
                client.sendall(answer)
            except OSError:
                return


def _received(connection: socket.socket) -> bytes:
    try:
        return connection.recv(65536)
    except OSError:
        return b""


class Beats:
    """Processes of beat with a broker of their own."""

    def __init__(self, broker: str, proxy: Proxy, directory: Path) -> None:
        self.proxy, self.directory = proxy, directory
        self.messages = redis.Redis.from_url(broker)
        self.processes: list[subprocess.Popen[bytes]] = []

    def start(self, database: str, pooled: str) -> None:
        environment = os.environ | {
            "DATABASE_URL": database,
            "COPPICE_DATABASE_POOLED": pooled,
            "REDIS_URL": self.proxy.url,
            "DJANGO_SETTINGS_MODULE": "config.settings.test",
            "COPPICE_LOG_LEVEL": "INFO",
        }
        environment.pop("PYTEST_XDIST_WORKER", None)
        with self.log(len(self.processes)).open("wb") as log:
            self.processes.append(
                subprocess.Popen(
                    [sys.executable, "-m", "celery", "-A", "config.celery", "beat", "-l", "INFO", "--pidfile="],
                    env=environment, cwd=ROOT, stdout=log, stderr=log,
                )
            )  # fmt: skip

    def log(self, number: int) -> Path:
        return self.directory / f"beat-{number}.log"

    def said(self) -> str:
        return "\n".join(self.log(number).read_text()[-1500:] for number in range(len(self.processes)))

    def publishers(self) -> set[int]:
        """Return who published since the last call, by place in `processes`."""
        with self.messages.pipeline(transaction=True) as pipeline:
            pipeline.lrange(QUEUE_KEY, 0, -1)
            pipeline.delete(QUEUE_KEY)
            found, _ = pipeline.execute()
        by_pid = {process.pid: place for place, process in enumerate(self.processes)}
        # "gen4711@host"
        origins = {orjson.loads(each)["headers"]["origin"] for each in found}
        return {by_pid[int(origin.removeprefix("gen").partition("@")[0])] for origin in origins}

    def wait_for_a_leader(self) -> tuple[int, float]:
        """Return who publishes next, and after how many seconds."""
        begun = time.monotonic()
        while not (found := self.publishers()):
            assert time.monotonic() < begun + PATIENCE_SECONDS, self.said()
            time.sleep(0.02)
        (leader,) = found
        return leader, time.monotonic() - begun

    def wait_until(self, true: Callable[[], bool]) -> None:
        end = time.monotonic() + PATIENCE_SECONDS
        while not true():
            assert time.monotonic() < end, self.said()
            time.sleep(0.05)


@pytest.fixture
def beats(tmp_path: Path) -> Iterator[Beats]:
    with tempfile.TemporaryDirectory(prefix="coppice-tests-") as state, Children(Path(state)) as children:
        valkey = Valkey(Path(state))
        valkey.start(children)
        running = Beats(redis_url(Path(state)), Proxy(valkey.socket), tmp_path)
        yield running
        for process in running.processes:
            process.kill()
        for process in running.processes:
            process.wait(timeout=60)
        running.messages.close()
        running.proxy.close()


@pytest.mark.parametrize("is_pooled", [False, pytest.param(True, marks=pooler.needs_pgbouncer)])
@pytest.mark.django_db(transaction=True)
def test_one_beat_publishes_and_another_takes_over(
    beats: Beats, is_pooled: bool, record_property: Callable[[str, object], None]
) -> None:
    with ExitStack() as stack:
        between = pooler.pgbouncer(sessions=3) if is_pooled else nullcontext(database_url())
        database = stack.enter_context(between)
        for _ in range(3):
            beats.start(database, "true" if is_pooled else "false")
        beats.wait_until(lambda: all("beat_" in beats.log(each).read_text() for each in range(3)))
        first, _ = beats.wait_for_a_leader()
        with psycopg.connect(database_url(), autocommit=True) as watched:
            next_id = watched.execute("SELECT pg_current_xact_id()::text::bigint + 1").fetchone()
            # Several renewals of each, and several messages of the leader.
            time.sleep(3 * RENEW_SECONDS)
            assert beats.publishers() == {first}
            holders = watched.execute(_HOLDERS, next_id).fetchall()
        assert holders == [(True, True)]

        beats.processes[first].kill()
        beats.publishers()
        second, after_death = beats.wait_for_a_leader()
        assert second != first

        beats.processes[second].send_signal(signal.SIGSTOP)
        beats.publishers()
        third, after_silence = beats.wait_for_a_leader()
        assert {first, second, third} == {0, 1, 2}
        beats.processes[second].send_signal(signal.SIGCONT)
        beats.wait_until(lambda: "beat_lost_the_database" in beats.log(second).read_text())
        beats.publishers()
        time.sleep(2 * RENEW_SECONDS)
        assert beats.publishers() == {third}

        # In the middle of a call of the broker.
        beats.proxy.hold_an_answer()
        beats.processes[third].terminate()
        assert beats.processes[third].wait(timeout=60) == 0
        beats.proxy.pass_answers()
        beats.publishers()
        fourth, after_stop = beats.wait_for_a_leader()
        assert fourth == second
    record_property("seconds", [round(each, 1) for each in (after_death, after_silence, after_stop)])


def test_a_worker_with_beat_inside_is_refused() -> None:
    command = [sys.executable, "-m", "celery", "-A", "config.celery", "worker", "-B", "-c", "1"]
    worker = subprocess.run(command, cwd=ROOT, text=True, capture_output=True, timeout=60, check=False)
    assert worker.returncode == 1, worker.stderr
    assert worker.stderr.splitlines() == [
        "Coppice cannot start. Run beat as a process, `celery -A config.celery beat`, in place of the option -B."
    ]
