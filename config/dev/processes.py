"""
Child processes that end when their parent does.

Each child leads a process group of its own, so that a Ctrl-C in the terminal reaches only the
parent, which then stops them in order. A guard process (`config/dev/reaper.py`) ends them if the
parent is killed, and a record on disk lets the next start end them if the guard was killed too.
"""

import contextlib
import json
import os
import pwd
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

GUARD = Path(__file__).with_name("reaper.py")
POLL_SECONDS = 0.03


class StartError(Exception):
    """A part could not be started or has stopped; the sentence says which, and where its log is."""


class Child:
    """One running child: its name as people read it, its log, and the signal that asks it to stop."""

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
        """Say how it ended, in one sentence."""
        code = self.process.poll()
        if code is None:
            return f"{self.name} is running"
        if code < 0:
            return f"{self.name} was killed by {signal.Signals(-code).name}. Its log: {self.log}"
        last = self.last_log_line() if code else ""
        return f"{self.name} stopped with exit status {code}. Its log: {self.log}" + (f"\n  {last}" if last else "")

    def last_log_line(self) -> str:
        """The last line that it printed, cut to what a person reads."""
        with contextlib.suppress(OSError):
            lines = self.log.read_text(encoding="utf-8", errors="replace").strip().splitlines()
            return lines[-1][:300] if lines else ""
        return ""


class Children:
    """
    The children of one supervisor.

    `checkpoint` is called while anything is waited for; it may raise to give up the wait, and is
    the only place where an interruption can surface, so that no child is lost half started.
    `lock` is a file descriptor that the guard shares: what it locks stays locked until all have ended.
    """

    def __init__(self, state: Path, *, checkpoint: Callable[[], None] = lambda: None, lock: int | None = None) -> None:
        self.checkpoint = checkpoint
        self.lock = lock
        self.logs = state / "log"
        self.record = state / "children.json"
        self.children: list[Child] = []
        self._guard: subprocess.Popen[str] | None = None

    def __enter__(self) -> "Children":
        self.logs.mkdir(mode=0o700, parents=True, exist_ok=True)
        end_recorded(self.record)
        self._guard = subprocess.Popen(
            [sys.executable, "-I", "-S", str(GUARD)],
            stdin=subprocess.PIPE,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            text=True,
            bufsize=1,
            cwd="/",
            start_new_session=True,
            pass_fds=() if self.lock is None else (self.lock,),
        )
        self.remove_at_the_end(self.record)
        return self

    def __exit__(self, *_: object) -> None:
        try:
            self.stop(list(self.children))
        finally:
            if self._guard is not None and self._guard.stdin is not None:
                with contextlib.suppress(OSError):
                    self._guard.stdin.close()
                self._guard.wait()
            self.record.unlink(missing_ok=True)

    def remove_at_the_end(self, path: Path) -> None:
        """Have the guard remove this file or directory when the children have ended."""
        self._tell_guard(f"rm {path}")

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
        self._tell_guard(f"+ {child.pid} {int(stop_signal)}")
        self._write_record()
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
        Run a command to its end and return what it printed.

        :raises StartError: it failed or took longer than `timeout_seconds`
        """
        child = self.spawn(name, arguments, environ=environ, directory=directory, account=account)
        return self.finish(child, timeout_seconds=timeout_seconds)

    def finish(self, child: Child, *, timeout_seconds: float) -> str:
        """
        Let a command come to its end and return what it printed.

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
        Return when `ready()` is true; it is asked again and again while `child` lives.

        `may_end` is for a child that is not needed any more once `ready()` is true. Any other must live: else
        it was somebody else who answered in its place.

        :raises StartError: the child stopped, or was not ready in time
        """
        deadline = time.monotonic() + timeout_seconds
        while True:
            # Asked in this order: a child may become ready and end in between.
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
        """:raises StartError: a child has stopped that nobody asked to stop"""
        for child in self.children:
            if not child.is_alive():
                raise StartError(child.exit_message())

    def _why(self, child: Child, sentence: str) -> StartError:
        """Add whatever else has stopped: one of the two is why the other did, and a person can tell which."""
        others = [other.exit_message() for other in self.children if other is not child and not other.is_alive()]
        return StartError("\n".join([sentence, *others]))

    def stop(self, children: Sequence[Child], *, patience_seconds: float = 8) -> None:
        """Ask all of these to stop at once, wait, and kill what remains of their process groups."""
        deadline = time.monotonic() + patience_seconds
        asked = 0.0
        while any(child.is_alive() for child in children) and (now := time.monotonic()) < deadline:
            # Asked again each second: a server that is still starting may lose the first signal.
            if now - asked > 1:
                asked = now
                for child in reversed(children):
                    if child.is_alive():
                        with contextlib.suppress(ProcessLookupError):
                            child.process.send_signal(child.stop_signal)
            time.sleep(POLL_SECONDS)
        for child in children:
            # The leader may be gone while a pool process of its group is not.
            with contextlib.suppress(ProcessLookupError, PermissionError):
                os.killpg(child.pid, signal.SIGKILL)
            child.process.wait()
            if child in self.children:
                self.children.remove(child)
            self._tell_guard(f"- {child.pid}")
        self._write_record()

    def _tell_guard(self, line: str) -> None:
        if self._guard is None or self._guard.stdin is None:
            return
        # Without its guard the system still runs and still stops; only `kill -9` would leave children.
        with contextlib.suppress(OSError, ValueError):
            self._guard.stdin.write(line + "\n")
            self._guard.stdin.flush()

    def _write_record(self) -> None:
        rows = [[child.name, child.pid, started(child.pid), int(child.stop_signal)] for child in self.children]
        self.record.write_text(json.dumps(rows), encoding="utf-8")


def started(pid: int) -> str:
    """When the process began, in words that tell it from a later process with the same number; "" if it is gone."""
    with contextlib.suppress(OSError, IndexError):
        fields = Path(f"/proc/{pid}/stat").read_text(encoding="utf-8", errors="replace").rpartition(")")[2].split()
        return "" if fields[0] == "Z" else fields[19]
    if Path("/proc/self/stat").exists():
        return ""
    with contextlib.suppress(OSError):
        shown = subprocess.run(["ps", "-o", "lstart=", "-p", str(pid)], capture_output=True, text=True, check=False)  # noqa: S607
        return shown.stdout.strip()
    return ""


def end_recorded(record: Path) -> None:
    """End what an earlier supervisor left behind when it and its guard were killed."""
    try:
        rows = json.loads(record.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return
    left = [(pid, when, stop_signal) for _, pid, when, stop_signal in rows if when and started(pid) == when]
    for pid, _, stop_signal in reversed(left):
        with contextlib.suppress(OSError):
            os.kill(pid, stop_signal)
    deadline = time.monotonic() + 8
    while any(started(pid) == when for pid, when, _ in left) and time.monotonic() < deadline:
        time.sleep(POLL_SECONDS)
    for _, pid, when, _ in rows:
        # A group outlives its leader while a member lives, and keeps the number from being used again.
        if when and started(pid) in {when, ""}:
            with contextlib.suppress(OSError):
                os.killpg(pid, signal.SIGKILL)
    record.unlink(missing_ok=True)
