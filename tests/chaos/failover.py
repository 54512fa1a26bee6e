"""
The primary is killed under load, and its synchronous standby promoted.

Clients move tokens there and back, each request with an Idempotency-Key. A client that gets 503, or whose connection
breaks, sends the same request again, as partners are told to. Afterwards each key has had one effect, and each transfer
that was acknowledged is there.
"""

import http.client
import itertools
import json
import os
import threading
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import ExitStack
from dataclasses import dataclass, field
from pathlib import Path
from signal import SIGSTOP
from typing import Any, Final

from django.db import connection

from config.ops import audits
from lockers import audit
from lockers.raida.commands import Command
from tests.api.web_server import started, wait_for
from tests.chaos import outages
from tests.chaos.world import World
from tests.support.failover import cluster
from tests.support.local_network import LocalNetwork
from transfers import operations as transfers
from transfers.models import Transfer
from trusts import operations as trusts
from wallets import operations as wallets
from wallets.errors import AuditIsRunning
from wallets.models import Token

CLIENTS: Final = 6
TOKENS: Final = 3
# Transfers of each client before the kill, and after the pooler was pointed anew.
TURNS: Final = 10
_PATIENCE_SECONDS: Final = 120


@dataclass
class Told:
    """What the clients saw. Times are of the monotonic clock."""

    # Key of the request, id of the transfer.
    acknowledged: dict[str, str] = field(default_factory=dict)
    statuses: Counter[str] = field(default_factory=Counter)
    refused_at: list[float] = field(default_factory=list)
    wrong: list[str] = field(default_factory=list)
    turns: list[int] = field(default_factory=lambda: [0] * CLIENTS)


def settle() -> dict[str, str]:
    """Make two wallets with tokens for each client, and return the headers of their manager."""
    _, api_key = wallets.create_api_key(name="load")
    manager = wallets.create_wallet(name="forest", password="acorns and oaks")
    for number, side in itertools.product(range(CLIENTS), "ab"):
        transfers.issue_tokens(
            wallet=trusts.open_managed_wallet(actor=manager, name=f"plot-{number}-{side}"), count=TOKENS
        )
    bearer = wallets.authenticate(name_or_id="forest", password="acorns and oaks")
    return {"treetracker-api-key": api_key, "Authorization": f"Bearer {bearer}"}


class Load:
    """Clients at work from entering the block to leaving it."""

    def __init__(self, address: tuple[str, int], headers: dict[str, str]) -> None:
        self.address, self.headers = address, headers
        self.told, self._stop = Told(), threading.Event()
        self._threads = [threading.Thread(target=self._move, args=(number,)) for number in range(CLIENTS)]
        self._threads.append(threading.Thread(target=self._read))

    def __enter__(self) -> "Load":
        for thread in self._threads:
            thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._stop.set()
        for thread in self._threads:
            thread.join(_PATIENCE_SECONDS)
            if thread.is_alive():
                self.told.wrong.append("a client still waits for an answer")

    def wait_for_turns(self, more: int) -> None:
        """Wait until each client has got this many more transfers acknowledged, or was answered wrongly."""
        wanted = [turns + more for turns in self.told.turns]
        end = time.monotonic() + _PATIENCE_SECONDS
        while not self.told.wrong and any(map(int.__lt__, self.told.turns, wanted)):
            if time.monotonic() > end:
                self.told.wrong.append(f"no progress: {self.told.turns} of {wanted}, {dict(self.told.statuses)}")
            time.sleep(0.02)

    def _move(self, number: int) -> None:
        for turn in itertools.count():
            sides = ("a", "b") if turn % 2 == 0 else ("b", "a")
            sender, receiver = (f"plot-{number}-{side}" for side in sides)
            body = {"sender_wallet": sender, "receiver_wallet": receiver, "bundle": {"bundle_size": 1}}
            key = f"failover-{number}-{turn}"
            while (answer := self._ask("POST", "/transfers", body, key)) is None:
                if self._stop.is_set() and not self.told.acknowledged:
                    return
            if self.told.wrong:
                return
            self.told.acknowledged[key] = answer["id"]
            self.told.turns[number] += 1
            if self._stop.is_set():
                return

    def _read(self) -> None:
        """Read in the other dialect, whose errors have another form."""
        while not self._stop.is_set() and not self.told.wrong:
            self._ask("GET", "/api/v1/lockers", None, None)
            time.sleep(0.05)

    def _ask(self, method: str, path: str, body: Any, key: str | None) -> dict[str, Any] | None:
        """Return the answer, or None if the client is to ask again."""
        headers = {**self.headers, "Host": "localhost", "Content-Type": "application/json"}
        headers |= {"Idempotency-Key": key} if key else {}
        web = http.client.HTTPConnection(*self.address, timeout=60)
        try:
            web.request(method, path, json.dumps(body) if body else None, headers)
            response = web.getresponse()
            answer: dict[str, Any] = json.loads(response.read())
        except (http.client.HTTPException, OSError, ValueError) as error:
            self.told.wrong.append(f"{method} {path}: {error!r}")
            return {}
        finally:
            web.close()
        self.told.statuses[f"{method} {response.status}"] += 1
        if response.status in (200, 201):
            return answer
        if response.status == 503:
            self.told.refused_at.append(time.monotonic())
            if not response.getheader("Retry-After") or not _is_right_dialect(path, answer):
                self.told.wrong.append(f"{method} {path}: {response.getheaders()} {answer}")
            time.sleep(0.1)
            return None
        if response.status == 409 and "Idempotency-Key" in answer["message"]:
            # The primary has not noticed yet that the earlier request is gone.
            time.sleep(0.1)
            return None
        self.told.wrong.append(f"{method} {path}: {response.status} {answer}")
        return {}


def _is_right_dialect(path: str, answer: dict[str, Any]) -> bool:
    if path.startswith("/api/v1/"):
        return (answer.get("status"), answer.get("error"), answer.get("code")) == ("error", True, 503)
    return set(answer) == {"code", "message"} and answer["code"] == 503


def accounts(told: Told) -> Iterator[str]:
    """Compare the ledger with what was acknowledged, and yield what is wrong."""
    yield from told.wrong[:5]
    by_id = {str(transfer.pk): transfer for transfer in Transfer.objects.filter(pk__in=told.acknowledged.values())}
    if missing := set(told.acknowledged.values()) - set(by_id):
        yield f"acknowledged, and not there: {sorted(missing)[:5]}"
    if len(set(told.acknowledged.values())) != len(told.acknowledged):
        yield "two keys were answered with the same transfer"
    if unfinished := [key for key, transfer in by_id.items() if transfer.state != "completed"]:
        yield f"acknowledged, and not completed: {unfinished[:5]}"
    moved = Transfer.objects.filter(source__name__startswith="plot-", destination__name__startswith="plot-")
    if (count := moved.count()) != len(told.acknowledged):
        yield f"{len(told.acknowledged)} keys were acknowledged, and {count} transfers are there"
    for number in range(CLIENTS):
        held = [Token.objects.filter(wallet__name=f"plot-{number}-{side}").count() for side in "ab"]
        there = told.turns[number] % 2
        if held != [TOKENS - there, TOKENS + there]:
            yield f"client {number} was acknowledged {told.turns[number]} transfers, and its wallets hold {held}"
    yield from (f"the audit found {each}" for each in _findings()[:5])


def _findings() -> list[Any]:
    """Audit the ledger, after an audit that a worker has begun."""
    end = time.monotonic() + _PATIENCE_SECONDS
    while True:
        try:
            return list(audits.findings())
        except AuditIsRunning:
            assert time.monotonic() < end
            time.sleep(0.2)


def figures(told: Told, *, killed_at: float, pointed_at: float) -> str:
    """Return one line: seconds from the kill, and answers by status."""
    refused = [at for at in told.refused_at if at >= killed_at]
    lasted = max(refused, default=killed_at) - min(refused, default=killed_at)
    return (
        f"promoted {pointed_at - killed_at:.1f} s after the kill, 503 for {lasted:.1f} s,"
        f" answers {dict(sorted(told.statuses.items()))}"
    )


def strike(
    network: LocalNetwork, directory: Path, *, is_pooled: bool, detection_seconds: float = 0.0
) -> tuple[str, list[str]]:
    """
    Kill the primary while clients move tokens and a worker's put is under way, and promote the standby after a while.

    Returns the figures, and what was wrong.
    """
    headers = settle()
    with ExitStack() as stack:
        os.environ["COPPICE_DATABASE_POOLED"] = "true" if is_pooled else "false"
        stack.callback(os.environ.pop, "COPPICE_DATABASE_POOLED")
        servers = stack.enter_context(cluster(is_pooled=is_pooled))
        web, port = stack.enter_context(started({}, processes=1, log=directory / "web.log"))
        worker = stack.enter_context(outages.workers(network, directory))()
        wait_for(port, web)
        worker.signal(SIGSTOP)
        put = outages.put_that_waits(World(network))
        with Load(("127.0.0.1", port), headers) as load:
            load.wait_for_turns(TURNS)
            outages.hold(network, put, Command.PUT, worker)
            killed_at = time.monotonic()
            servers.kill_primary()
            time.sleep(detection_seconds)
            servers.promote()
            # That of this thread may still lead to the old one.
            connection.close()
            pointed_at = time.monotonic()
            load.wait_for_turns(TURNS)
        network.clear()
        worker.wait_until(lambda: put.state() != "running")
        wrong = list(accounts(load.told))
        if not load.told.refused_at:
            wrong.append("no request was refused: the primary died unnoticed")
        if not worker.is_alive or put.state() != "completed":
            wrong.append(f"the put of the worker {'is' if worker.is_alive else 'that ended is'} {put.state()}")
        else:
            put.assert_nothing_is_lost()
        wrong += [f"the audit found {each}" for each in audit.audit_findings()]
        return figures(load.told, killed_at=killed_at, pointed_at=pointed_at), wrong
