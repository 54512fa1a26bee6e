"""`REDIS_URL` in every form: one server, sentinels that name the primary, and a cluster, which is refused."""

import os
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import pytest
import redis
from celery import Celery

from config.dev.embedded import ROOT
from config.dev.private_servers import Valkey
from config.ops import health, redis_status
from tests.ports import reserved_port
from wallets import redis_servers


@pytest.mark.parametrize(
    ("url", "celerys"),
    [
        ("valkey://:secret@host:6379/3", "redis://:secret@host:6379/3"),
        ("valkeys://host/3", "rediss://host/3"),
        ("redis://host:6379?db=4", "redis://host:6379/4?db=4"),
        ("redis+sentinel://h1,h2:1/trees", "sentinel://h1:26379/0;sentinel://h2:1/0"),
        ("valkey+sentinel://u:p%40@h1,[::1]:2/trees/5", "sentinel://u:p%40@h1:26379/5;sentinel://u:p%40@[::1]:2/5"),
    ],
)
def test_a_url_becomes_celerys(url: str, celerys: str) -> None:
    assert redis_status.broker_from_url(url) == celerys


def test_sentinels_and_their_credentials_are_read() -> None:
    url = "redis+sentinel://u:p%40@h1,h2:1/trees/5?sentinel_username=s&sentinel_password=hush"
    address = redis_servers.read(url)

    assert address.sentinels == (("h1", 26379), ("h2", 1))
    assert (address.service, address.database, address.username, address.password) == ("trees", 5, "u", "p@")
    options = redis_status.transport_options(url)
    assert (options["master_name"], options["sentinel_kwargs"]["password"]) == ("trees", "hush")
    assert "hush" not in repr(address)


@pytest.mark.parametrize(
    ("url", "said"),
    [
        ("redis+cluster://:hush@h/0", "names a cluster"),
        ("redis://:hush@h1,h2/0", "names several servers"),
        ("redis://:hush@h:port/0", "number for its port"),
        ("redis://:hush@h/trees", "number of a database"),
        ("rediss+sentinel://:hush@h/trees", "TLS to sentinels is not supported"),
        ("redis+sentinel://:hush@h", "must look like redis+sentinel://"),
        ("redis+sentinel://:hush@h/trees/x", "must look like redis+sentinel://"),
        ("amqp://:hush@h/0", "must look like"),
        ("unix://", "must look like"),
    ],
)
def test_a_url_that_cannot_work_is_refused_without_its_secret(url: str, said: str) -> None:
    with pytest.raises(ValueError, match=r"must|names|TLS|number") as refused:
        redis_servers.read(url)

    assert said in str(refused.value)
    assert "hush" not in str(refused.value)


Start = Callable[..., int]


@pytest.fixture
def start(tmp_path: Path) -> Iterator[Start]:
    """Start a server with the given options, and return its port."""
    program, _ = Valkey(tmp_path).program()
    processes: list[subprocess.Popen[bytes]] = []
    with ExitStack() as ports:

        def begin(*options: str, text: str | None = None) -> int:
            port = ports.enter_context(reserved_port())
            # Its port is held only until it listens: these servers share none.
            ports.pop_all().close()
            directory = tmp_path / str(port)
            directory.mkdir()
            # The port of a cluster's servers for each other is else 10,000 higher, which may be none.
            cluster = ports.enter_context(reserved_port())
            ports.pop_all().close()
            options = tuple(option.format(cluster=cluster) for option in options)
            arguments = ["--port", str(port), "--bind", "127.0.0.1", "--dir", str(directory), "--save", ""]
            if text is not None:
                (directory / "conf").write_text(text)
                arguments = [str(directory / "conf"), *arguments[:6], "--sentinel"]
            with (directory / "log").open("wb") as log:
                processes.append(subprocess.Popen([program, *arguments, *options], stdout=log, stderr=log))
            wait_until(lambda: answers(port))
            return port

        yield begin
        for process in processes:
            process.terminate()
        for process in processes:
            process.wait(timeout=60)


def answers(port: int) -> bool:
    try:
        with redis.Redis(port=port) as client:
            return bool(client.ping())
    except redis.RedisError:
        return False


def wait_until(true: Callable[[], bool]) -> None:
    end = time.monotonic() + 60
    while not true():
        assert time.monotonic() < end
        time.sleep(0.05)


def test_sentinels_lead_every_client_to_the_primary_after_a_failover_too(start: Start) -> None:
    first = start()
    second = start("--replicaof", "127.0.0.1", str(first))
    watched = f"sentinel monitor trees 127.0.0.1 {first} 1\nsentinel down-after-milliseconds trees 1000\n"
    sentinel = start(text=watched)
    url = f"redis+sentinel://127.0.0.1:{sentinel}/trees/2"
    with redis.Redis(port=sentinel) as asked:
        wait_until(lambda: len(asked.sentinel_slaves("trees")) == 1)  # type: ignore[arg-type]
        wait_until(lambda: asked.sentinel_slaves("trees")[0]["master-link-status"] == "ok")  # type: ignore[index]
        app = Celery("trees", broker=redis_status.broker_from_url(url), set_as_current=False)
        app.conf.broker_transport_options = redis_status.transport_options(url)

        redis_status.check_write(url)
        app.send_task("grow")
        assert redis_status.queue(url) == (1, 0)
        with redis.Redis(port=first, db=2) as primary:
            assert primary.llen(redis_status.QUEUE_KEY) == 1
        assert redis_servers.ask(url, lambda client: client.incr("rings")) == 1

        wait_until(lambda: replicated(second))
        with redis.Redis(port=first) as primary:
            primary.shutdown(nosave=True)
        wait_until(lambda: is_primary(second))

        def writes() -> bool:
            try:
                redis_status.check_write(url)
            except redis_status.BrokerSilent:
                return False
            return True

        wait_until(writes)
        app.send_task("grow")

    with redis.Redis(port=second, db=2) as primary:
        assert primary.llen(redis_status.QUEUE_KEY) == 2
        assert primary.get("rings") == b"1"
    assert redis_servers.ask(url, lambda client: client.incr("rings")) == 2
    redis_servers.client(url).close()


def replicated(port: int) -> bool:
    with redis.Redis(port=port, db=2) as client:
        return client.get("rings") == b"1"


def is_primary(port: int) -> bool:
    with redis.Redis(port=port) as client:
        return bool(client.info("replication")["role"] == "master")


def test_a_server_of_a_cluster_is_refused_at_the_start_with_the_reason(start: Start, settings: Any) -> None:
    url = f"redis://127.0.0.1:{start('--cluster-enabled', 'yes', '--cluster-port', '{cluster}')}/0"
    environment = os.environ | {"REDIS_URL": url, "DJANGO_SETTINGS_MODULE": "config.settings.test"}
    environment.pop("PYTEST_XDIST_WORKER", None)
    settings.REDIS_URL = url

    commands = (
        ["config.web.server", "--port", "0"],
        ["celery", "-A", "config.celery", "worker", "-c", "1"],
        ["celery", "-A", "config.celery", "beat", "--pidfile="],
    )
    started = [
        subprocess.Popen(
            [sys.executable, "-m", *command], env=environment, cwd=ROOT, text=True,
            stdout=subprocess.DEVNULL, stderr=subprocess.PIPE,
        )
        for command in commands
    ]  # fmt: skip
    for process in started:
        _, said = process.communicate(timeout=60)
        assert process.returncode == 1, said
        assert "Coppice cannot start. REDIS_URL names a server of a cluster" in said
        assert "Traceback" not in said
    with pytest.raises(health.Unhealthy, match="is a cluster"):
        health.check_broker()
