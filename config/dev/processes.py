"""
Child processes that end with their parent.

Each child leads a process group, so that a Ctrl-C in the terminal reaches only the parent, which then stops the
children in order. If the parent is killed, the reaper process (`config/dev/reaper.py`) ends them.
"""

import contextlib
import os
import pwd
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Final

from config.dev import reaper
from config.dev.reaper import is_running

__all__ = ["Child", "Children", "StartError", "is_running"]

POLL_SECONDS: Final = 0.03


class StartError(Exception):
    """A part could not be started or has stopped. The message names it and its log."""


class Child:
    """A child process: its name for messages, its log, and the signal that asks it to stop."""

    def __init__(self, name: str, process: "subprocess.Popen[bytes]", log: Path, stop_signal: signal.Signals) -> None:
        self.name = name
        self.process = process
        self.log = log
        self.stop_signal = stop_signal

    @property
    def pid(self) -> int:
        return self.process.pid

    def is_alive(self) -> bool:
        return self.process.poll() is None

    def exit_message(self) -> str:
        """Return one sentence about its end."""
        code = self.process.poll()
        if code is None:
            return f"{self.name} is running"
        if code < 0:
            return f"{self.name} was killed by {signal.Signals(-code).name}. Its log: {self.log}"
        last = self.last_log_line() if code else ""
        return f"{self.name} stopped with exit status {code}. Its log: {self.log}" + (f"\n  {last}" if last else "")

    def last_log_line(self) -> str:
        """Return the last line of its log, cut to 300 characters."""
        with contextlib.suppress(OSError):
            lines = self.log.read_text(encoding="utf-8", errors="replace").strip().splitlines()
            return lines[-1][:300] if lines else ""
        return ""


class Children:
    """
    The children of one supervisor.

    `checkpoint` is called during each wait and may raise to end it; signals are raised nowhere else, so that no child
    is half started. `lock` is a file descriptor with a flock, which the reaper shares until all children have ended.
    """

    def __init__(self, state: Path, *, checkpoint: Callable[[], None] = lambda: None, lock: int | None = None) -> None:
        self.checkpoint = checkpoint
        self.lock = lock
        self.logs = state / "log"
        self.children: list[Child] = []
        self._reaper: subprocess.Popen[str] | None = None

    def __enter__(self) -> "Children":
        self.logs.mkdir(mode=0o700, parents=True, exist_ok=True)
        self._reaper = subprocess.Popen(
            [sys.executable, "-I", "-S", reaper.__file__],
            stdin=subprocess.PIPE,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            text=True,
            bufsize=1,
            cwd="/",
            start_new_session=True,
            pass_fds=() if self.lock is None else (self.lock,),
        )
        return self

    def __exit__(self, *_: object) -> None:
        try:
            self.stop(list(self.children))
        finally:
            if self._reaper is not None and self._reaper.stdin is not None:
                with contextlib.suppress(OSError):
                    self._reaper.stdin.close()
                self._reaper.wait()

    def remove_at_the_end(self, path: Path) -> None:
        """Have the reaper remove this file or directory when the children have ended."""
        self._tell_reaper(f"rm {path}")

    def spawn(
        self,
        name: str,
        arguments: Sequence[str | Path],
        *,
        environ: Mapping[str, str] | None = None,
        directory: Path | str = "/",
        account: str | None = None,
        stop_signal: signal.Signals = signal.SIGTERM,
    ) -> Child:
        """Start a child that writes to `<state>/log/<name>.log`, as user `account` if that is given."""
        log = self.logs / f"{name.lower().replace(' ', '-')}.log"
        group = pwd.getpwnam(account).pw_gid if account else None
        with log.open("wb") as output:
            try:
                process = subprocess.Popen(
                    [str(argument) for argument in arguments],
                    stdin=subprocess.DEVNULL,
                    stdout=output,
                    stderr=subprocess.STDOUT,
                    env=None if environ is None else dict(environ),
                    cwd=directory,
                    user=account,
                    group=group,
                    extra_groups=[] if account else None,
                    start_new_session=True,
                )
            except OSError as error:
                raise StartError(f"{name} could not be started: {arguments[0]}: {error.strerror}") from error
        child = Child(name, process, log, stop_signal)
        self.children.append(child)
        self._tell_reaper(f"+ {child.pid} {int(stop_signal)}")
        return child

    def run(
        self,
        name: str,
        arguments: Sequence[str | Path],
        *,
        timeout_seconds: float,
        environ: Mapping[str, str] | None = None,
        directory: Path | str = "/",
        account: str | None = None,
    ) -> str:
        """
        Run a command and return its output.

        :raises StartError: it failed or took longer than `timeout_seconds`
        """
        child = self.spawn(name, arguments, environ=environ, directory=directory, account=account)
        return self.finish(child, timeout_seconds=timeout_seconds)

    def finish(self, child: Child, *, timeout_seconds: float) -> str:
        """
        Wait for a command to end and return its output.

        :raises StartError: it failed or took longer than `timeout_seconds`
        """
        try:
            deadline = time.monotonic() + timeout_seconds
            while child.is_alive():
                if time.monotonic() > deadline:
                    raise self._why(
                        child, f"{child.name} took longer than {timeout_seconds:.0f} s. Its log: {child.log}"
                    )
                self.checkpoint()
                time.sleep(POLL_SECONDS)
            if child.process.returncode:
                raise self._why(child, child.exit_message())
            return child.log.read_text(encoding="utf-8", errors="replace")
        finally:
            self.stop([child], patience_seconds=2)

    def wait_until(
        self, ready: Callable[[], bool], child: Child, *, timeout_seconds: float, may_end: bool = False
    ) -> None:
        """
        Poll `ready()` until it is true.

        Unless `may_end`, the child must still run then: otherwise another process has answered in its place.

        :raises StartError: the child ended, or was not ready in time
        """
        deadline = time.monotonic() + timeout_seconds
        while True:
            # Checked first: a child may become ready and end in between.
            was_alive = child.is_alive()
            if ready() and (may_end or child.is_alive()):
                return
            self.checkpoint()
            if not was_alive:
                raise self._why(child, child.exit_message())
            if time.monotonic() > deadline:
                text = f"{child.name} was not ready within {timeout_seconds:.0f} s. Its log: {child.log}"
                raise self._why(child, text)
            time.sleep(POLL_SECONDS)

    def check(self) -> None:
        """:raises StartError: a child has stopped by itself"""
        for child in self.children:
            if not child.is_alive():
                raise StartError(child.exit_message())

    def _why(self, child: Child, sentence: str) -> StartError:
        """Return an error that names the other stopped children too, since one may be the cause."""
        others = [other.exit_message() for other in self.children if other is not child and not other.is_alive()]
        return StartError("\n".join([sentence, *others]))

    def stop(self, children: Sequence[Child], *, patience_seconds: float = 8) -> None:
        """Signal all of these children, wait, and kill the remains of their process groups."""
        deadline = time.monotonic() + patience_seconds
        asked = 0.0
        while any(child.is_alive() for child in children) and (now := time.monotonic()) < deadline:
            # Repeated each second: a server that is still starting may lose the first signal.
            if now - asked > 1:
                asked = now
                for child in reversed(children):
                    if child.is_alive():
                        with contextlib.suppress(ProcessLookupError):
                            child.process.send_signal(child.stop_signal)
            time.sleep(POLL_SECONDS)
        for child in children:
            # A process of the group may outlive its leader.
            with contextlib.suppress(ProcessLookupError, PermissionError):
                os.killpg(child.pid, signal.SIGKILL)
            child.process.wait()
            if child in self.children:
                self.children.remove(child)
            self._tell_reaper(f"- {child.pid}")

    def _tell_reaper(self, line: str) -> None:
        if self._reaper is None or self._reaper.stdin is None:
            return
        # Without the reaper the system works; only a `kill -9` of the supervisor would leave children.
        with contextlib.suppress(OSError, ValueError):
            self._reaper.stdin.write(line + "\n")
            self._reaper.stdin.flush()
