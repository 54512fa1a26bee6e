"""
The reaper: ends the child processes of a supervisor that was killed.

It runs as a separate script in a separate session and reads lines from a pipe whose only writer is the supervisor:

    + <pid> <signal>    a process group was started; this signal asks its leader to stop
    - <pid>             that group has ended
    rm <path>           remove this file or directory at the end

However the supervisor ends, `kill -9` included, the kernel closes the pipe. Then the reaper signals the registered
groups, newest first, and kills those that do not end. It imports only the standard library, to start in milliseconds.
"""

import contextlib
import os
import shutil
import signal
import sys
import time

PATIENCE_SECONDS = 8.0


def is_running(pid: int) -> bool:
    """Return whether a process has this id and is no zombie."""
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    except PermissionError:
        return True
    try:
        with open(f"/proc/{pid}/stat", encoding="utf-8", errors="replace") as stat:
            return stat.read().rpartition(")")[2].split()[0] != "Z"
    except (OSError, IndexError):
        return os.path.exists(f"/proc/{pid}") or not os.path.exists("/proc/self")


def end(groups: dict[int, int]) -> None:
    """Signal the leader of each group, newest first, then kill the remains of the groups."""
    for pid, stop_signal in reversed(list(groups.items())):
        with contextlib.suppress(OSError):
            os.kill(pid, stop_signal)
    deadline = time.monotonic() + PATIENCE_SECONDS
    while time.monotonic() < deadline and any(is_running(pid) for pid in groups):
        time.sleep(0.05)
    for pid in groups:
        with contextlib.suppress(OSError):
            os.killpg(pid, signal.SIGKILL)


def main() -> None:
    for ignored in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        signal.signal(ignored, signal.SIG_IGN)
    groups: dict[int, int] = {}
    paths: list[str] = []
    for line in sys.stdin:
        verb, _, rest = line.rstrip("\n").partition(" ")
        if verb == "+":
            pid, stop_signal = rest.split()
            groups[int(pid)] = int(stop_signal)
        elif verb == "-":
            groups.pop(int(rest), None)
        elif verb == "rm":
            paths.append(rest)
    end(groups)
    for path in paths:
        if os.path.isdir(path):
            shutil.rmtree(path, ignore_errors=True)
        else:
            with contextlib.suppress(OSError):
                os.unlink(path)


if __name__ == "__main__":
    main()
