"""A thread pool with a bounded queue."""

import threading
from collections.abc import Callable
from queue import SimpleQueue
from time import monotonic
from typing import Generic, TypeVar

from config.api.pools import Size

Job = TypeVar("Job")


class Threads(Generic[Job]):
    """`size.threads` threads that call `work` with each job. `work` must not raise."""

    def __init__(self, name: str, size: Size, work: Callable[[Job], None]) -> None:
        self._work = work
        self._waiting = size.waiting
        self._jobs: SimpleQueue[Job | None] = SimpleQueue()
        self._threads = [
            threading.Thread(target=self._run, name=f"{name}-{number}", daemon=True)
            for number in range(1, size.threads + 1)
        ]
        for thread in self._threads:
            thread.start()

    def take(self, job: Job) -> bool:
        """Enqueue a job; return False if the queue is full. Call this from one thread only."""
        if self._jobs.qsize() >= self._waiting:
            return False
        self._jobs.put(job)
        return True

    def stop(self, *, patience_seconds: float) -> None:
        """Finish the enqueued jobs and end the threads."""
        for _ in self._threads:
            self._jobs.put(None)
        end = monotonic() + patience_seconds
        for thread in self._threads:
            thread.join(max(0.0, end - monotonic()))

    def _run(self) -> None:
        while (job := self._jobs.get()) is not None:
            self._work(job)
