"""A web server that ends behind a proxy, as in a rolling update of docker/kubernetes, loses no request."""

import os
import signal
import subprocess
import threading
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

import httpx
import pytest

from tests.api.caller import PASSWORD
from tests.api.web_server import started, wait_for
from tests.config import proxies
from tests.config.proxies import Certificate, Ports
from tests.ports import reserved_port
from tests.support.waiting import until
from transfers import operations as transfers
from transfers.models import Transfer
from wallets import operations as wallets

pytestmark = [
    pytest.mark.django_db(transaction=True),
    pytest.mark.skipif(not proxies.is_here("nginx"), reason="NO PROXY: install nginx to test a rolling update"),
]
CLIENTS = 4
TOKENS = 20_000


@dataclass
class Load:
    """What clients sent without a pause, and what they got."""

    statuses: Counter[int] = field(default_factory=Counter)
    acknowledged: list[str] = field(default_factory=list)
    # Ends of connections without an answer.
    unanswered: list[str] = field(default_factory=list)


def send(api: httpx.Client, load: Load, end: threading.Event) -> None:
    bearer = api.post("/auth", json={"wallet": "alice", "password": PASSWORD}).raise_for_status().json()["token"]
    body = {"bundle": {"bundle_size": 1}, "sender_wallet": "alice", "receiver_wallet": "bob"}
    while not end.is_set():
        try:
            answer = api.post("/transfers", json=body, headers={"authorization": f"Bearer {bearer}"})
        except httpx.TransportError as error:
            load.unanswered.append(repr(error))
            continue
        load.statuses[answer.status_code] += 1
        if answer.status_code == 202:
            load.acknowledged.append(answer.json()["id"])


@contextmanager
def under_load(ports: Ports, certificate: Certificate, key: str) -> Iterator[Load]:
    load, end = Load(), threading.Event()
    with httpx.Client(
        base_url=f"https://localhost:{ports.https}",
        verify=certificate.context(),
        # The process of nginx with the former configuration closes connections without a request when it ends.
        headers={"treetracker-api-key": key, "connection": "close"},
        timeout=60,
    ) as api:
        threads = [threading.Thread(target=send, args=(api, load, end)) for _ in range(CLIENTS)]
        for thread in threads:
            thread.start()
        try:
            until(lambda: load.statuses[202] > CLIENTS)
            yield load
        finally:
            end.set()
            for thread in threads:
                thread.join()


def send_to(directory: Path, upstreams: list[int], before: list[int]) -> None:
    """Let nginx send requests to these ports instead, and return when the workers of the old configuration are told."""
    path = directory / "coppice.conf"
    servers = [" ".join(f"server 127.0.0.1:{port};" for port in ports) for ports in (before, upstreams)]
    path.write_text(proxies.replaced(path.read_text(), {servers[0]: servers[1]}))
    os.kill(int((directory / "nginx.pid").read_text()), signal.SIGHUP)


def test_a_rolling_update_loses_no_request(tmp_path: Path) -> None:
    key = wallets.create_api_key(name="partner")[1]
    alice = wallets.create_wallet(name="alice", password=PASSWORD)
    wallets.create_wallet(name="bob", password=PASSWORD)
    transfers.issue_tokens(wallet=alice, count=TOKENS)
    certificate = proxies.make_certificate(tmp_path)
    with reserved_port() as http, reserved_port() as https:
        ports = Ports(http, https)
        variables = {
            "COPPICE_SECURE": "true",
            "COPPICE_PUBLIC_URL": f"https://localhost:{https}",
            "COPPICE_TRUSTED_PROXIES": "127.0.0.1",
        }
        with started(variables, processes=1) as (old, first), started(variables, processes=1) as (new, second):
            wait_for(first, old)
            wait_for(second, new)
            with proxies.nginx(tmp_path, certificate, ports, f"127.0.0.1:{first}"):
                with under_load(ports, certificate, key) as load:
                    # The new pod is ready; then the old one is to end, and proxies learn of it while preStop waits.
                    send_to(tmp_path, [first, second], before=[first])
                    time.sleep(0.5)
                    send_to(tmp_path, [second], before=[first, second])
                    time.sleep(2)
                    end(old, load)
                with under_load(ports, certificate, key) as control:
                    end(new, control)

    # That of the control without an answer may have moved a token too.
    stored = {str(pk) for pk in Transfer.objects.values_list("pk", flat=True)}
    assert (set(load.statuses), load.unanswered) == ({202}, [])
    assert set(load.acknowledged) | set(control.acknowledged) <= stored
    assert control.statuses[502] > 0


def end(server: "subprocess.Popen[bytes]", load: Load) -> None:
    """Stop the server as Kubernetes does, and return when each client had an answer since."""
    server.terminate()
    server.wait(timeout=60)
    before = sum(load.statuses.values())
    until(lambda: sum(load.statuses.values()) + len(load.unanswered) > before + 4 * CLIENTS)
