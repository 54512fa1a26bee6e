"""A broker that refuses writes: what says so, and that workers, beat and requests go on when it has room again."""

import contextlib
import os
import select
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import redis
from django.test import Client

from config import tasks
from config.dev.embedded import ROOT, redis_url
from config.dev.private_servers import Valkey
from config.dev.processes import Children
from config.ops import health, redis_status
from lockers.models import LockerTask
from lockers.states import TaskState
from tests.support.databases import database_url
from wallets import operations as wallets

PATIENCE_SECONDS = 60
ALONE = "; wrong logins and codes are counted by each process alone"


@pytest.fixture
def valkey(state: Path, settings: Any) -> Iterator[redis.Redis]:
    """A server of the test's own, which this process uses too."""
    with Children(state) as children:
        Valkey(state).start(children)
        settings.REDIS_URL = redis_url(state)
        with redis.Redis.from_url(settings.REDIS_URL) as client:
            yield client


def refuse_writes(valkey: redis.Redis, how: str) -> None:
    if how == "read-only":
        valkey.replicaof("127.0.0.1", 1)
    else:
        valkey.config_set("maxmemory", 1)


def take_writes(valkey: redis.Redis) -> None:
    valkey.replicaof("NO", "ONE")
    valkey.config_set("maxmemory", 0)


@pytest.mark.django_db
@pytest.mark.parametrize(
    ("how", "said"),
    [("full", f"refuses writes: out of memory{ALONE}"), ("read-only", f"refuses writes: read-only{ALONE}")],
)
def test_readyz_tells_that_the_broker_refuses_writes(client: Client, valkey: redis.Redis, how: str, said: str) -> None:
    tasks.heartbeat()
    redis_status.record_worker(redis_url_of(valkey), "celery@test")
    assert client.get("/readyz").json()["broker"] == "ok"
    refuse_writes(valkey, how)

    refused = client.get("/readyz")
    live = client.get("/livez")
    take_writes(valkey)
    taken = client.get("/readyz")

    assert (refused.status_code, refused.json()["broker"]) == (503, said)
    assert live.status_code == 200
    assert (taken.status_code, taken.json()["broker"]) == (200, "ok")


def redis_url_of(valkey: redis.Redis) -> str:
    return f"unix://{valkey.connection_pool.connection_kwargs['path']}?db=0"


@pytest.mark.parametrize(
    ("error", "said"),
    [
        (
            redis.exceptions.ResponseError("MISCONF Errors writing to the AOF file: No space left"),
            "the disk cannot be written",
        ),
        (redis.exceptions.ResponseError("NOREPLICAS Not enough good replicas to write."), "too few replicas"),
        (redis.exceptions.ResponseError("some words with 10.1.2.3 in them"), "an error"),
        (redis.exceptions.ExecAbortError("Transaction discarded because of: OOM command not allowed"), "out of memory"),
    ],
)
def test_a_refusal_is_told_in_words_that_name_no_address(error: redis.ResponseError, said: str) -> None:
    assert redis_status.why_refused(error) == said


@contextlib.contextmanager
def running(diary: Path, name: str, *arguments: str) -> Iterator["subprocess.Popen[bytes]"]:
    environment = os.environ | {
        "DATABASE_URL": database_url(),
        "REDIS_URL": health.settings.REDIS_URL,
        "DJANGO_SETTINGS_MODULE": "config.settings.test",
    }
    environment.pop("PYTEST_XDIST_WORKER", None)
    with (diary / name).open("wb") as log:
        command = [sys.executable, "-m", "celery", "-A", "config.celery", *arguments]
        process = subprocess.Popen(command, env=environment, stdout=log, stderr=log, cwd=ROOT)
        try:
            yield process
        finally:
            process.terminate()
            process.wait(timeout=60)


def wait_until(true: Callable[[], bool], *, diary: Path) -> None:
    end = time.monotonic() + PATIENCE_SECONDS
    while not true():
        said = "".join(f"{path.name}:\n{path.read_text()[-3000:]}" for path in sorted(diary.iterdir()))
        assert time.monotonic() < end, said
        time.sleep(0.05)


@pytest.mark.django_db(transaction=True)
def test_worker_and_beat_wait_for_a_broker_that_is_full_and_no_task_is_lost(
    client: Client, valkey: redis.Redis, tmp_path: Path, settings: Any
) -> None:
    url = settings.REDIS_URL
    wallets.create_wallet(name="alice", password="correct horse")
    client.defaults["HTTP_AUTHORIZATION"] = (
        f"Bearer {wallets.authenticate(name_or_id='alice', password='correct horse')}"
    )

    def refused(name: str) -> int:
        return (tmp_path / name).read_text().count("redis.exceptions.OutOfMemoryError")

    # Started while it is full already.
    refuse_writes(valkey, "full")
    with (
        running(tmp_path, "worker", "worker", "-c", "1", "--without-gossip", "--without-mingle") as worker,
        running(tmp_path, "beat", "beat", "--pidfile=") as beat,
    ):
        wait_until(lambda: refused("worker") > 0 and refused("beat") > 0, diary=tmp_path)
        take_writes(valkey)
        wait_until(lambda: redis_status.last_heartbeat(url) > 0, diary=tmp_path)

        # The message is on its way to the worker, which cannot write down that it took it: the message is lost.
        worker.send_signal(signal.SIGSTOP)
        begun = client.get("/api/v1/echo")
        before = refused("worker"), refused("beat")
        refuse_writes(valkey, "full")
        worker.send_signal(signal.SIGCONT)
        # Told truthfully: the row is there, and says that it runs.
        unsent = client.get("/api/v1/echo")
        wait_until(lambda: refused("worker") > before[0] and refused("beat") > before[1], diary=tmp_path)
        assert [(each.status_code, each.json()["status"]) for each in (begun, unsent)] == [(200, "running")] * 2
        assert [task.state for task in LockerTask.objects.all()] == [TaskState.RUNNING] * 2
        assert (worker.poll(), beat.poll()) == (None, None)

        take_writes(valkey)
        freed = time.time()
        wait_until(lambda: not LockerTask.objects.filter(state=TaskState.RUNNING).exists(), diary=tmp_path)
        wait_until(lambda: redis_status.last_heartbeat(url) > freed, diary=tmp_path)

        assert (worker.poll(), beat.poll()) == (None, None)
        assert LockerTask.objects.count() == 2


_PUBLISHER = """
import uuid
from config.celery import app
import django
django.setup()
from lockers import dispatch
for _ in range(3):
    dispatch.enqueue(uuid.uuid4())
    print("returned", flush=True)
    input()
"""


def test_publishing_to_a_broker_that_hangs_ends_and_does_not_hold_the_request(valkey: redis.Redis) -> None:
    """A frozen machine, or a network that drops packets, keeps connections open and answers nothing."""
    environment = os.environ | {
        "DATABASE_URL": database_url(),
        "REDIS_URL": health.settings.REDIS_URL,
        "DJANGO_SETTINGS_MODULE": "config.settings.test",
    }
    pid = valkey.info()["process_id"]
    with subprocess.Popen(
        [sys.executable, "-c", _PUBLISHER],
        env=environment, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE, cwd=ROOT,
    ) as process:  # fmt: skip
        assert process.stdin is not None
        assert process.stdout is not None
        try:
            assert process.stdout.readline() == b"returned\n"
            os.kill(pid, signal.SIGSTOP)
            for _ in range(2):
                process.stdin.write(b"\n")
                process.stdin.flush()
                # The client tries four times, for two seconds each; then no request contacts the broker for a while.
                assert select.select([process.stdout], [], [], PATIENCE_SECONDS)[0], "still waits for the broker"
                assert process.stdout.readline() == b"returned\n"
        finally:
            os.kill(pid, signal.SIGCONT)
            process.kill()
