"""A process of the web server that dies is replaced, while the others serve."""

import http.client
import os
import signal
import socket
import subprocess
import sys
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

import pytest

from config.dev import ports
from config.dev.embedded import ROOT
from config.web import processes
from tests.api.web_server import children_of, listeners, started
from tests.ports import reserved_port
from tests.support.waiting import PATIENCE_SECONDS, until

pytestmark = pytest.mark.usefixtures("transactional_db")


def status(port: int) -> int:
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=60)
    try:
        connection.request("GET", "/livez", headers={"Host": "localhost"})
        return connection.getresponse().status
    finally:
        connection.close()


@pytest.fixture(scope="module")
def running(django_db_setup: None) -> Iterator[tuple["subprocess.Popen[bytes]", int]]:
    """The main process of a server with two, and its port. The last test that uses it kills it."""
    with started({}, processes=2) as (main, port):
        yield main, port


def test_a_process_that_is_killed_is_replaced_twice_in_a_row_while_the_other_serves(
    running: tuple["subprocess.Popen[bytes]", int],
) -> None:
    main, port = running
    until(lambda: len(listeners(port)) == 2)
    until(lambda: status(port) == 200)
    first, second = children_of(main.pid)

    os.kill(first, signal.SIGKILL)
    until(lambda: len(listeners(port)) == 1 or len(children_of(main.pid) - {first, second}) == 1)
    assert status(port) == 200
    until(lambda: len(children_of(main.pid) - {first, second}) == 1)
    (third,) = children_of(main.pid) - {first, second}
    # Granian's own way would end the server here.
    os.kill(third, signal.SIGKILL)
    until(lambda: len(children_of(main.pid) - {first, second, third}) == 1)
    until(lambda: len(listeners(port)) == 2)

    assert [status(port) for _ in range(8)] == [200] * 8
    assert second in children_of(main.pid)
    assert main.poll() is None


def test_a_connection_waits_for_a_process_if_none_is_left(running: tuple["subprocess.Popen[bytes]", int]) -> None:
    main, port = running
    until(lambda: len(children_of(main.pid)) == 2 and len(listeners(port)) == 2)
    before = children_of(main.pid)
    for pid in before:
        os.kill(pid, signal.SIGKILL)
    # Stopped while they load the application, the replacements do not listen yet.
    stopped: set[int] = set()

    def both_are_stopped() -> bool:
        for pid in children_of(main.pid) - before - stopped:
            os.kill(pid, signal.SIGSTOP)
            stopped.add(pid)
        return len(stopped) == 2

    try:
        until(both_are_stopped)
        connection = socket.create_connection(("127.0.0.1", port), timeout=60)
    finally:
        for pid in stopped:
            os.kill(pid, signal.SIGCONT)
    with connection:
        connection.sendall(b"GET /livez HTTP/1.1\r\nHost: localhost\r\n\r\n")
        assert connection.recv(12) == b"HTTP/1.1 200"


@pytest.mark.parametrize("is_listening", [False, True], ids=["bound", "listening"])
def test_a_port_that_another_server_of_the_user_has_is_refused(
    is_listening: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(processes, "BIND_SECONDS", 0.0)
    # With SO_REUSEPORT, as the processes of a web server.
    with reserved_port() as port, socket.socket() as other:
        if is_listening:
            other.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
            other.bind(("127.0.0.1", port))
            other.listen()

        with pytest.raises(SystemExit, match=f"port {port} of 127.0.0.1: another program uses it"):
            processes.serve(
                host="127.0.0.1", port=port, is_reserved=False, processes=1, stop_seconds=1, request_seconds=1.0
            )


def test_the_processes_of_a_server_share_the_port_that_it_holds() -> None:
    with processes._hold("127.0.0.1", 0) as held:
        port = held.getsockname()[1]
        with pytest.raises(OSError, match="in use"):
            ports.reserve(port)
        with ports.bound("127.0.0.1", port, socket.SO_REUSEPORT) as one:
            one.listen()
            with ports.bound("127.0.0.1", port, socket.SO_REUSEPORT) as other:
                other.listen()


def test_no_process_outlives_the_one_that_keeps_them(running: tuple["subprocess.Popen[bytes]", int]) -> None:
    main, port = running
    until(lambda: len(listeners(port)) == 2)
    processes = children_of(main.pid)
    assert len(processes) == 2

    main.kill()

    until(lambda: not any(_lives(pid) for pid in processes))


def test_no_process_that_still_loads_the_application_outlives_the_one_that_keeps_it() -> None:
    with started({}, processes=2) as (main, _):
        until(lambda: len(children_of(main.pid)) == 2)
        processes = children_of(main.pid)

        main.kill()

        until(lambda: not any(_lives(pid) for pid in processes))


def test_a_process_ends_when_its_parent_ended_before_its_event_loop_ran() -> None:
    serves = """
import os, signal, time, uvloop
from config.web.processes import end_with_the_parent

loop = uvloop.new_event_loop()
parent = os.getppid()
loop.add_signal_handler(signal.SIGTERM, loop.stop)
end_with_the_parent(loop)
print(os.getpid(), flush=True)
while os.getppid() == parent:
    time.sleep(0.01)
loop.run_forever()
"""
    starts = "import subprocess, sys; subprocess.Popen([sys.executable, '-c', sys.argv[1]]).wait()"
    with subprocess.Popen([sys.executable, "-c", starts, serves], cwd=ROOT, stdout=subprocess.PIPE) as parent:
        assert parent.stdout
        orphan = int(parent.stdout.readline())

        parent.kill()

        try:
            until(lambda: not _lives(orphan))
        finally:
            with suppress(ProcessLookupError):
                os.kill(orphan, signal.SIGKILL)


def test_a_server_that_cannot_start_ends_and_says_so() -> None:
    with started({"DJANGO_SETTINGS_MODULE": "no.such.settings"}, processes=2) as (main, _):
        assert main.wait(timeout=PATIENCE_SECONDS) == 1


def _lives(pid: int) -> bool:
    """Return whether the process runs: an orphan that ended may remain as a zombie."""
    with suppress(OSError):
        return Path(f"/proc/{pid}/stat").read_text(errors="replace").rpartition(")")[2].split()[0] != "Z"
    return False
