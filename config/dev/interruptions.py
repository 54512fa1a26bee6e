"""Signals that stop the system, held back while child processes are started or stopped."""

import contextlib
import signal
from collections.abc import Iterator
from types import FrameType
from typing import Final

SIGNALS: Final = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)


class Interrupted(BaseException):
    """
    A signal asked the system to stop: Ctrl-C, `kill`, or a closed terminal.

    Not an `Exception`, like `KeyboardInterrupt`: the code that it interrupts may handle all of these, and the signal,
    which is raised once, would be lost.
    """

    def __init__(self, number: int) -> None:
        super().__init__(f"stopped by {signal.Signals(number).name}")
        self.number = number

    @property
    def exit_status(self) -> int:
        return 128 + self.number

    @property
    def is_from_the_keyboard(self) -> bool:
        return self.number == signal.SIGINT


class Interruptions:
    """
    Turns signals into `Interrupted`.

    Within `held`, a signal is raised at the next `checkpoint` or when the block ends.
    """

    def __init__(self) -> None:
        self._holds = 0
        self._pending: int | None = None
        self._raised = False
        self._earlier: dict[signal.Signals, object] = {}

    def install(self) -> None:
        for number in SIGNALS:
            # Under `nohup` a closed terminal must not stop the system.
            if number == signal.SIGHUP and signal.getsignal(number) is signal.SIG_IGN:
                continue
            self._earlier[number] = signal.signal(number, self._arrived)

    def uninstall(self) -> None:
        for number, earlier in self._earlier.items():
            signal.signal(number, earlier)  # type: ignore[arg-type]
        self._earlier.clear()

    def _arrived(self, number: int, frame: FrameType | None) -> None:
        # A second Ctrl-C must not interrupt the shutdown.
        if self._raised:
            return
        self._pending = number
        if not self._holds:
            self.checkpoint()

    def checkpoint(self) -> None:
        if self._pending is not None and not self._raised:
            self._raised = True
            raise Interrupted(self._pending)

    @contextlib.contextmanager
    def held(self) -> Iterator[None]:
        self._holds += 1
        try:
            yield
        finally:
            self._holds -= 1
        if not self._holds:
            self.checkpoint()
