"""
Worker processes that can be held at any step of a task: what is forked from here starts at once.

A client of the socket sends one line of JSON, `{"task": id, "hosts": […], "hold": [n, …], "refuse": {…}}`,
and a child of this process works on the task as Celery's would. At each *point* that `hold` names the child says so
in a line and waits for one back before it goes on. Points are counted from 1. They are the moments at which an
interruption has different effects: after each commit, and before, in the middle of, and after each exchange with the
servers.
The last line says how the task left the child, and how many points it passed.
"""

import dataclasses
import json
import os
import signal
import socket
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from django.conf import settings
from django.db import transaction

from lockers import tasks, transport
from lockers.raida.statuses import Status

# How to start it: Django has to be set up before the imports above.
COMMAND = "import django; django.setup(); from tests.chaos import nursery; nursery.main()"


class Child:
    """The far end of one connection: works on a task, and stops where it is told to."""

    def __init__(self, stream: Any, order: Mapping[str, Any]) -> None:
        self._stream = stream
        self._hold = set(order["hold"])
        self._refuse: Mapping[str, int] = order.get("refuse", {})
        self._passed = 0
        self._order = order

    def run(self) -> None:
        settings.RAIDA_HOSTS = self._order["hosts"]
        settings.RAIDA_TIMEOUT_SECONDS = self._order["timeout"]
        self._place_points()
        self._say("ready", pid=os.getpid())
        outcome = "returned"
        try:
            tasks.run(self._order["task"])
        except Exception as error:  # noqa: BLE001 - whatever it was, the parent is told
            outcome = f"{type(error).__name__}: {error}"
        self._say(outcome, points=self._passed)

    def _say(self, word: str, **more: object) -> None:
        self._stream.write(json.dumps({"word": word, **more}) + "\n")
        self._stream.flush()

    def _point(self, name: str) -> None:
        self._passed += 1
        if self._passed in self._hold:
            self._say("held", point=self._passed, name=name, pid=os.getpid())
            self._stream.readline()

    def _place_points(self) -> None:
        leave, ask = transaction.Atomic.__exit__, transport.ask

        def leave_and_stop(atomic: transaction.Atomic, *raised: Any) -> None:
            leave(atomic, *raised)
            if raised[0] is None and not transaction.get_connection(atomic.using).in_atomic_block:
                self._point("after a commit")

        def ask_in_halves(
            servers: Any, call: transport.Call, *, until: float, on_result: Any = None, **early: Any
        ) -> transport.Results:
            name = call.command.name
            refusing = range(self._refuse.get(name, 0))
            results: transport.Results = {
                raida: transport.Answer(raida, Status.ALL_FAIL, b"", 0.0)
                for raida in refusing
                if raida in call.payloads
            }
            asked = [raida for raida in call.payloads if raida not in refusing]
            self._point(f"before {name}")
            for half, point in ((asked[::2], f"amid {name}"), (asked[1::2], f"after {name}")):
                part = dataclasses.replace(call, payloads={raida: call.payloads[raida] for raida in half})
                results |= ask(servers, part, until=until, on_result=on_result)
                self._point(point)
            return dict(sorted(results.items()))

        transaction.Atomic.__exit__ = leave_and_stop  # type: ignore[method-assign]
        transport.ask = ask_in_halves


def main() -> None:
    path = Path(sys.argv[1])
    signal.signal(signal.SIGCHLD, signal.SIG_IGN)
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind(str(path))
        listener.listen(16)
        while True:
            connection, _ = listener.accept()
            if os.fork():
                connection.close()
                continue
            listener.close()
            signal.signal(signal.SIGCHLD, signal.SIG_DFL)
            stream = connection.makefile("rw", encoding="utf-8")
            try:
                Child(stream, json.loads(stream.readline())).run()
            finally:
                os._exit(0)
