"""
Receive answers that arrive after 13 servers have decided.

The other servers have been asked too, and most answer a moment later. A thread listens until the timeout of the call,
while the worker continues. Answers before the end of the task are kept for the worker; later ones are written by one
thread of the process (`lockers.worker.late_answers`). A process that dies loses what it has not written; the sweep then
asks those servers again.
"""

import logging
import threading
from collections.abc import Callable, Mapping, Sequence
from queue import Empty, SimpleQueue
from typing import Any, Final
from uuid import UUID

from django.db import connection

from lockers import transport
from lockers.transport import Call, Listener, Results, Server
from lockers.worker import circuit_breaker

_log = logging.getLogger(__name__)

# Each has a thread and at most 12 sockets. Further calls of the process are cancelled at the quorum.
_MOST: Final = 24
_open: Final = set["Hearing"]()
_count: Final = threading.Lock()
# The writer closes its database connection after being idle for this long.
_IDLE_SECONDS: Final = 0.5


class Hearing:
    """Late answers to one call of a task, and the function that writes them after the task has ended."""

    def __init__(self, task_id: UUID, write: Callable[[Results], None]) -> None:
        self.task_id = task_id
        self.write = write
        # Whether 13 servers decided before all had answered.
        self.is_open = False
        self._lock = threading.Lock()
        self._kept: Results = {}
        self._task_has_ended = False
        self._is_dropped = False

    def listener(self, on_verdict: Callable[[Results], None]) -> Listener:
        """Return a listener that passes the late answers of a call to this object."""

        def open_and_go_on(results: Results) -> None:
            self.is_open = True
            on_verdict(results)

        return Listener(open_and_go_on, self._hear)

    def _hear(self, results: Results) -> None:
        with self._lock:
            if not self._task_has_ended:
                self._kept |= results
                return
        if not self._is_dropped:
            _writer.put(self, results)

    def taken(self) -> Results:
        """Return, and forget, the answers that have arrived, for the worker to write with its own."""
        with self._lock:
            kept, self._kept = self._kept, {}
        return kept

    def keep(self, results: Results) -> None:
        """Take back answers that the worker could not write."""
        with self._lock:
            self._kept = results | self._kept

    def task_has_ended(self) -> None:
        """Write the kept answers, and each later one as it arrives: the end of the task is committed."""
        with self._lock:
            self._task_has_ended = True
            kept, self._kept = self._kept, {}
        if kept and not self._is_dropped:
            _writer.put(self, kept)

    def drop(self) -> None:
        """Discard all answers: another worker has the task, or it is open and will ask again."""
        with self._lock:
            self._is_dropped = self._task_has_ended = True
            self._kept = {}

    def over(self) -> None:
        """Note that no answer can arrive any more."""
        with _count:
            _open.discard(self)


def begin(task_id: UUID, write: Callable[[Results], None]) -> Hearing | None:
    """Return where late answers to the next call go; None if the process listens to enough calls."""
    hearing = Hearing(task_id, write)
    with _count:
        if len(_open) >= _MOST:
            return None
        _open.add(hearing)
    return hearing


class Asking:
    """A call to servers in its own thread, so that the caller can work meanwhile and continue at the quorum."""

    def __init__(self, servers: Sequence[Server], call: Call, *, hearing: Hearing | None, **how: Any) -> None:
        """`how` are further arguments of `transport.ask`. With a `hearing` the call is over at the quorum."""
        self.is_over = threading.Event()
        self._results: Results = {}
        self._failure: BaseException | None = None
        self._hearing = hearing
        threading.Thread(target=self._ask, args=(servers, call, how), name="raida", daemon=True).start()

    def results(self) -> Results:
        """Wait until the call is over, and return what came."""
        self.is_over.wait()
        if self._failure is not None:
            raise self._failure
        return self._results

    def _ask(self, servers: Sequence[Server], call: Call, how: Mapping[str, Any]) -> None:
        listener = None if self._hearing is None else self._hearing.listener(self._go_on)
        try:
            results = transport.ask(servers, call, listener=listener, **how)
            if not self.is_over.is_set():
                self._go_on(results)
        except BaseException as error:  # noqa: BLE001 - raised again by the waiting thread
            self._failure = error
        finally:
            self.is_over.set()
            if self._hearing is not None:
                self._hearing.over()

    def _go_on(self, results: Results) -> None:
        self._results = results
        self.is_over.set()


class LastOf:
    """Late answers to the last of several calls, which supersedes the earlier ones."""

    def __init__(self, task_id: UUID, write: Callable[[Results], None]) -> None:
        self._task_id = task_id
        self._write = write
        self._hearing: Hearing | None = None

    def begin(self) -> Hearing | None:
        self.drop()
        self._hearing = begin(self._task_id, self._write)
        return self._hearing

    def task_has_ended(self) -> None:
        if self._hearing is not None:
            self._hearing.task_has_ended()
            self._hearing = None

    def drop(self) -> None:
        if self._hearing is not None:
            self._hearing.drop()
            self._hearing = None


def is_quiet() -> bool:
    """Return whether this process listens to no server and has written all late answers."""
    with _count:
        return not _open and _writer.is_idle()


def ask(servers: Sequence[Server], call: Call, *, hearing: Hearing | None, **how: Any) -> Results:
    """Call `transport.ask`, and return at the quorum; later answers go to the hearing."""
    if hearing is None:
        return transport.ask(servers, call, **how)
    return Asking(servers, call, hearing=hearing, **how).results()


class _Writer:
    """Writes late answers, in one thread that ends when there are none."""

    def __init__(self) -> None:
        self._waiting: SimpleQueue[tuple[Hearing, Results]] = SimpleQueue()
        self._lock = threading.Lock()
        self._thread: threading.Thread | None = None

    def put(self, hearing: Hearing, results: Results) -> None:
        with self._lock:
            self._waiting.put((hearing, results))
            if self._thread is None:
                self._thread = threading.Thread(target=self._work, name="late answers", daemon=True)
                self._thread.start()

    def is_idle(self) -> bool:
        with self._lock:
            return self._thread is None

    def _work(self) -> None:
        while True:
            try:
                self._write(*self._waiting.get(timeout=_IDLE_SECONDS))
            except Empty:
                connection.close()
                with self._lock:
                    if self._waiting.empty():
                        self._thread = None
                        return

    @staticmethod
    def _write(hearing: Hearing, results: Results) -> None:
        try:
            hearing.write(results)
            circuit_breaker.Circuits.load().record(results)
        except Exception as error:  # noqa: BLE001 - the thread has no caller
            # The sweep asks for answers that were not written.
            _log.warning("Late answers to task %s were not written: %s", hearing.task_id, type(error).__name__)
            connection.close()


_writer: Final = _Writer()
