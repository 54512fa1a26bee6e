"""A process of the web server that dies is replaced, while the others serve."""

import http.client
import os
import signal
import subprocess
import time
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path

import pytest

from tests.api.web_server import children_of, listeners, started

pytestmark = pytest.mark.usefixtures("transactional_db")
PATIENCE_SECONDS = 60


def until(true: Callable[[], bool]) -> None:
    end = time.monotonic() + PATIENCE_SECONDS
    while not true():
        assert time.monotonic() < end
        time.sleep(0.05)


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
    until(lambda: listeners(port) == 2)
    until(lambda: status(port) == 200)
    first, second = children_of(main.pid)

    os.kill(first, signal.SIGKILL)
    until(lambda: listeners(port) == 1 or len(children_of(main.pid) - {first, second}) == 1)
    assert status(port) == 200
    until(lambda: len(children_of(main.pid) - {first, second}) == 1)
    (third,) = children_of(main.pid) - {first, second}
    # Granian's own way would end the server here.
    os.kill(third, signal.SIGKILL)
    until(lambda: len(children_of(main.pid) - {first, second, third}) == 1)
    until(lambda: listeners(port) == 2)

    assert [status(port) for _ in range(8)] == [200] * 8
    assert second in children_of(main.pid)
    assert main.poll() is None


def test_no_process_outlives_the_one_that_keeps_them(running: tuple["subprocess.Popen[bytes]", int]) -> None:
    main, port = running
    until(lambda: listeners(port) == 2)
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


def test_a_server_that_cannot_start_ends_and_says_so() -> None:
    with started({"DJANGO_SETTINGS_MODULE": "no.such.settings"}, processes=2) as (main, _):
        assert main.wait(timeout=PATIENCE_SECONDS) == 1


def _lives(pid: int) -> bool:
    """Return whether the process runs: an orphan that ended may remain as a zombie."""
    with suppress(OSError):
        return Path(f"/proc/{pid}/stat").read_text(errors="replace").rpartition(")")[2].split()[0] != "Z"
    return False
