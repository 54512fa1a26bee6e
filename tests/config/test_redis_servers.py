"""`REDIS_URL` in every form: one server, sentinels that name the primary, and a cluster, which is refused."""

import contextlib
import os
import socket
import subprocess
import sys
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import redis
from celery import Celery

from config.dev.embedded import ROOT
from config.ops import health, redis_status
from tests.support.redis_processes import Servers, Watched, free_port, servers, wait_until
from wallets import redis_servers


@pytest.mark.parametrize(
    ("url", "celerys"),
    [
        ("valkey://:secret@host:6379/3", "redis://:secret@host:6379/3"),
        ("valkeys://host/3", "rediss://host/3"),
        ("redis://host:6379?db=4", "redis://host:6379/4?db=4"),
        ("redis+sentinel://h1,h2:1/trees", "sentinel://h1:26379/0;sentinel://h2:1/0"),
        ("redis+sentinel://:p%40@h1/trees", "sentinel://:p%40@h1:26379/0"),
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


@pytest.fixture
def started(tmp_path: Path) -> Iterator[Servers]:
    with servers(tmp_path) as running:
        yield running


def test_sentinels_lead_every_client_to_the_primary_after_a_failover_too(started: Servers) -> None:
    watched = Watched(started)
    url = watched.url(2)
    app = Celery("trees", broker=redis_status.broker_from_url(url), set_as_current=False)
    app.conf.broker_transport_options = redis_status.transport_options(url)

    redis_status.check_write(url)
    app.send_task("grow")
    assert redis_status.queue(url) == (1, 0)
    with redis.Redis(port=watched.primary, db=2) as primary:
        assert primary.llen(redis_status.QUEUE_KEY) == 1
    assert redis_servers.ask(url, lambda client: client.incr("rings")) == 1

    wait_until(lambda: replicated(watched.replica))
    watched.fail_over()

    def writes() -> bool:
        try:
            redis_status.check_write(url)
        except redis_status.BrokerSilent:
            return False
        return True

    wait_until(writes)
    app.send_task("grow")

    with redis.Redis(port=watched.replica, db=2) as primary:
        assert primary.llen(redis_status.QUEUE_KEY) == 2
        assert primary.get("rings") == b"1"
    assert redis_servers.ask(url, lambda client: client.incr("rings")) == 2
    redis_servers.client(url).close()


def replicated(port: int) -> bool:
    with redis.Redis(port=port, db=2) as client:
        return client.get("rings") == b"1"


def test_a_server_of_a_cluster_is_refused_at_the_start_with_the_reason(started: Servers, settings: Any) -> None:
    # The port of a cluster's servers for each other is else 10,000 higher, which may be none.
    port = started.start("--cluster-enabled", "yes", "--cluster-port", str(free_port()))
    url = f"redis://127.0.0.1:{port}/0"
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


def test_a_call_is_repeated_once_over_a_new_connection_and_no_more() -> None:
    """The server closes each connection as soon as it is asked something."""
    accepted = 0

    def serve(listener: socket.socket) -> None:
        nonlocal accepted
        with contextlib.suppress(OSError):
            while True:
                connection, _ = listener.accept()
                accepted += 1
                connection.recv(1000)
                connection.close()

    with socket.create_server(("127.0.0.1", 0)) as listener:
        thread = threading.Thread(target=serve, args=[listener], daemon=True)
        thread.start()
        with pytest.raises(redis.ConnectionError):
            redis_servers.connect(f"redis://127.0.0.1:{listener.getsockname()[1]}/0").get("key")
        listener.shutdown(socket.SHUT_RDWR)
        thread.join(timeout=60)

    assert accepted == 2
