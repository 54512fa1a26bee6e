"""
Processes of the web server are killed under load, and nothing is lost but the answers to the requests in hand.

Eight clients move tokens there and back, each request with an Idempotency-Key. A client whose connection breaks sends
the same request again, as partners are told to. Afterwards each key has had one effect.
"""

import http.client
import itertools
import json
import os
import random
import signal
import threading
import time
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any, Final

from tests.api.web_server import children_of, listeners
from tests.benchmarks import data, machine

CLIENTS: Final = 8
# A process takes 2 s of processor time to start, which is minutes for a storm of low priority on a busy machine.
_PATIENCE_SECONDS: Final = 600


@dataclass
class Told:
    """What the clients saw."""

    # Key of the request, id of the transfer.
    acknowledged: dict[str, str] = field(default_factory=dict)
    broken: Counter[str] = field(default_factory=Counter)
    wrong: list[str] = field(default_factory=list)


def strike(running: machine.Machine, *, kills: int, seed: int) -> Iterator[str]:
    """
    Kill one process after the other, now and then the replacement before it serves; yield what was wrong.

    One always serves. The last line says how it went.
    """
    from config.ops import audits
    from transfers.models import Transfer

    chance = random.Random(seed)
    estate = data.settle()
    before = Transfer.objects.count()
    running.start_web()
    assert running.web is not None
    main, port = running.web.pid, running.port
    _until(lambda: len(listeners(port)) == 2)
    told, stop = Told(), threading.Event()
    clients = [
        threading.Thread(target=_move, args=(running.address, estate, number, told, stop)) for number in range(CLIENTS)
    ]
    for client in clients:
        client.start()
    done = 0
    pauses: list[float] = []
    while done < kills:
        time.sleep(chance.uniform(0.2, 1.0))
        old = children_of(main)
        victim = chance.choice(sorted(old))
        sockets = listeners(port)
        begun = time.monotonic()
        os.kill(victim, signal.SIGKILL)
        done += 1
        # Its socket outlives it by a moment, and would be taken for that of the one that replaces it.
        _until(lambda sockets=sockets: bool(sockets - listeners(port)))
        if chance.random() < 0.3:
            _until(lambda old=old: bool(children_of(main) - old))
            (young,) = children_of(main) - old
            time.sleep(chance.uniform(0.0, 0.4))
            os.kill(young, signal.SIGKILL)
            done += 1
        _until(lambda: len(children_of(main)) == 2 and len(listeners(port)) == 2)
        pauses.append(time.monotonic() - begun)
    stop.set()
    for client in clients:
        client.join(_PATIENCE_SECONDS)
    yield from told.wrong[:5]
    if running.web.process.poll() is not None:
        yield running.web.exit_message()
    if sum(told.broken.values()) > done * CLIENTS:
        yield f"more requests broke than were in hand: {told.broken}"
    newest = Transfer.objects.order_by("-number").values_list("id", flat=True)[: 10 + len(told.acknowledged)]
    written = set(map(str, newest))
    if missing := set(told.acknowledged.values()) - written:
        yield f"acknowledged, and not there: {sorted(missing)[:5]}"
    if (count := Transfer.objects.count() - before) != len(told.acknowledged):
        yield f"{len(told.acknowledged)} keys were acknowledged, and {count} transfers are there"
    yield from (f"the audit found {each}" for each in audits.findings()[:5])
    print(
        f"web: {done} kills, {len(told.acknowledged)} transfers, broken connections {dict(told.broken)};"
        f" two serve again after {min(pauses):.1f} to {max(pauses):.1f} s"
    )


def _move(address: tuple[str, int], estate: data.Estate, number: int, told: Told, stop: threading.Event) -> None:
    connection = http.client.HTTPConnection(*address, timeout=60)
    for turn in itertools.count():
        sides = ("a", "b") if turn % 2 == 0 else ("b", "a")
        sender, receiver = (data.plot(number, 0, side) for side in sides)
        body = {"sender_wallet": sender, "receiver_wallet": receiver, "bundle": {"bundle_size": 1}}
        key = f"storm-{number}-{turn}"
        headers = {**estate.headers, "Host": "localhost", "Content-Type": "application/json", "Idempotency-Key": key}
        while True:
            answer: dict[str, Any]
            try:
                connection.request("POST", "/transfers", json.dumps(body), headers)
                response = connection.getresponse()
                answer = json.loads(response.read())
            except (http.client.HTTPException, OSError) as error:
                told.broken[type(error).__name__] += 1
                connection.close()
                time.sleep(0.01)
                continue
            if response.status == 409 and "Idempotency-Key" in answer["message"]:
                # PostgreSQL has not noticed yet that the process is gone.
                time.sleep(0.05)
                continue
            if response.status not in (200, 201):
                told.wrong.append(f"{response.status} {answer}")
                return
            told.acknowledged[key] = answer["id"]
            break
        if stop.is_set():
            connection.close()
            return


def _until(true: Any) -> None:
    end = time.monotonic() + _PATIENCE_SECONDS
    while not true():
        if time.monotonic() > end:
            raise AssertionError("the web server did not come back to two processes")
        time.sleep(0.05)
