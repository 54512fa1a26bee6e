"""Parts of the web server's entry that no client reaches at will. The rest is in tests/api/test_slow_clients.py."""

import asyncio
import json
import os
import threading
from collections.abc import Iterator
from types import SimpleNamespace
from typing import Any
from wsgiref.validate import check_environ

import pytest
from django.core.handlers.wsgi import WSGIRequest

from config.api.pools import SIZES, Pool, Size
from config.ops import request_metrics
from config.web.bodies import Body, Refused, Room
from config.web.rsgi import Entry
from config.web.threads import Threads


class Headers(list[tuple[str, str]]):
    """As granian has them."""

    def items(self) -> list[tuple[str, str]]:
        return list(self)

    def keys(self) -> list[str]:
        return sorted({name for name, _ in self})


class Connection:
    """Keeps what it is answered."""

    def __init__(self) -> None:
        self.answer: tuple[Any, ...] = ()

    def response_bytes(self, *answer: Any) -> None:
        self.answer = answer

    def response_file(self, status: int, headers: list[tuple[str, str]], file: str) -> None:
        with open(file, "rb") as opened:
            self.answer = status, headers, opened.read()


def environ(**more: Any) -> dict[str, Any]:
    scope = {
        "http_version": "1.1",
        "server": "[::1]:8000",
        "client": "[2001:db8::1]:50000",
        "scheme": "http",
        "method": "GET",
        "path": "/wallets/Bäume",
        "query_string": "a=%C3%A4",
        "headers": Headers([("host", "localhost"), ("cookie", "a=1"), ("via", "x"), ("cookie", "b=2"), ("via", "y")]),
    }
    entry = Entry()
    made = entry._base.copy()
    entry._fill(made, SimpleNamespace(**scope | more), str((scope | more)["path"]))
    return made


def test_the_environ_is_what_pep_3333_says() -> None:
    made = environ()

    check_environ(made)
    assert made["PATH_INFO"].encode("latin-1").decode() == "/wallets/Bäume"
    assert (made["REMOTE_ADDR"], made["SERVER_PORT"]) == ("2001:db8::1", "8000")
    assert (made["HTTP_COOKIE"], made["HTTP_VIA"]) == ("a=1; b=2", "x,y")
    # No secret of the process's own environment.
    assert not set(made) & set(os.environ)
    assert environ(http_version="1")["SERVER_PROTOCOL"] == "HTTP/1.0"


def test_a_query_that_is_not_percent_encoded_is_read_as_utf_8() -> None:
    made = environ(query_string="after=٣&name=Bäume")
    check_environ(made)
    assert WSGIRequest(made).GET.dict() == {"after": "٣", "name": "Bäume"}


def test_a_path_below_the_prefix_has_the_threads_that_it_has_without() -> None:
    entry = Entry()
    entry._prefix = "/coppice"
    for path in ("/auth", "/livez", "/api/locker/peek", "/wallets", "/"):
        assert entry._path(f"/coppice{path}") == entry._path(path) == path
    assert entry._path("/coppice") == "/"
    assert entry._path("/coppices/auth") == "/coppices/auth"
    assert entry._pool_of(entry._path("/coppice/auth"), "") is Pool.PASSWORDS


def test_forms_with_images_leave_the_others_their_threads() -> None:
    may_end = threading.Event()

    class Form(Connection):
        async def __call__(self) -> bytes:
            return b"x"

    def application(given: dict[str, Any], start_response: Any) -> list[bytes]:
        if given["REQUEST_METHOD"] == "PATCH":
            may_end.wait(120)
        start_response("200 OK", [])
        return [b"x"]

    def request(method: str, *headers: tuple[str, str]) -> tuple[Any, Connection]:
        scope = {
            "http_version": "1.1", "server": "[::1]:8000", "client": "[::1]:50000", "scheme": "http",
            "method": method, "path": "/wallets/11111111-1111-4111-8111-111111111111", "query_string": "",
            "headers": Headers([("host", "localhost"), *headers]),
        }  # fmt: skip
        return SimpleNamespace(**scope), Form()

    async def run() -> list[Any]:
        entry = Entry(application)
        entry._loop = asyncio.get_running_loop()
        entry._pools = {pool: Threads(pool, SIZES[pool], entry._work) for pool in (Pool.ORDINARY, Pool.IMAGES)}
        form = ("content-type", "multipart/form-data; boundary=frame"), ("content-length", "1")
        sent = [request("PATCH", *form) for _ in range(SIZES[Pool.IMAGES].threads + SIZES[Pool.IMAGES].waiting + 1)]
        waiting = [asyncio.create_task(entry.__rsgi__(*each)) for each in sent]
        try:
            got = request("GET")
            async with asyncio.timeout(60):
                await entry.__rsgi__(*got)
        finally:
            may_end.set()
            await asyncio.wait(waiting)
            for threads in entry._pools.values():
                threads.stop(patience_seconds=60)
        return [got[1].answer[0], sorted({each.answer[0] for _, each in sent})]

    assert asyncio.run(run()) == [200, [200, 503]]


def test_a_job_that_finds_the_queue_full_is_refused_and_those_in_it_are_done() -> None:
    begun, may_end, done = threading.Event(), threading.Event(), list[int]()

    def work(job: int) -> None:
        begun.set()
        may_end.wait(60)
        done.append(job)

    threads = Threads("few", Size(threads=1, waiting=2), work)
    assert threads.take(0)
    assert begun.wait(60)
    assert [threads.take(job) for job in (1, 2, 3)] == [True, True, False]
    may_end.set()
    threads.stop(patience_seconds=60)
    assert done == [0, 1, 2]


def answered(application: Any) -> tuple[Any, ...]:
    entry, connection = Entry(application), Connection()
    entry._loop = SimpleNamespace(call_soon_threadsafe=lambda *_: None, call_later=None)
    entry._work(({"PATH_INFO": "/api/x"}, connection, SimpleNamespace(done=lambda: True)))
    return connection.answer


@pytest.mark.parametrize("size", [10, 3_000_000], ids=["in memory", "in a file"])
def test_an_answer_of_unknown_length_is_whole_and_closed_on_the_thread(size: int) -> None:
    closed = []

    class Pieces:
        streaming = True

        def __iter__(self) -> Iterator[bytes]:
            yield from (b"x" * (size // 10) for _ in range(10))

        def close(self) -> None:
            closed.append(size)

    def application(_: Any, start_response: Any) -> Pieces:
        start_response("200 OK", [("X-Own", "1"), ("Connection", "keep-alive"), ("Transfer-Encoding", "chunked")])
        return Pieces()

    status, headers, body = answered(application)

    assert (status, headers, len(body), closed) == (200, [("X-Own", "1")], size, [size])


def test_an_application_that_fails_amid_its_answer_is_500_in_the_dialect_of_the_path() -> None:
    def application(_: Any, start_response: Any) -> Iterator[bytes]:
        start_response("200 OK", [])
        yield b"x"
        raise RuntimeError("told to nobody")

    status, headers, body = answered(application)

    assert dict(headers)["error-code"] == "internal_error"
    assert (status, body) == (500, b'{"status":"error","error":true,"message":"Unknown error","code":500}')


def test_a_request_that_no_thread_saw_is_logged_with_its_client_and_error_and_counted(
    capfd: pytest.CaptureFixture[str],
) -> None:
    scope = {
        "http_version": "1.1",
        "server": "[::1]:8000",
        "client": "203.0.113.7:50000",
        "scheme": "http",
        "method": "BREW",
        "path": "/transfers",
        "query_string": "",
        "headers": Headers([("host", "localhost"), ("authorization", "Bearer a"), ("authorization", "Bearer b")]),
    }
    connection = Connection()
    before = _refused_of_other_methods()
    capfd.readouterr()

    asyncio.run(Entry().__rsgi__(SimpleNamespace(**scope), connection))

    (line,) = [json.loads(line) for line in capfd.readouterr().err.splitlines()]
    status, headers, _ = connection.answer
    assert {name: line[name] for name in line.keys() - {"timestamp", "ms"}} == {
        "level": "info", "logger": "coppice.access", "event": "request", "request_id": dict(headers)["x-request-id"],
        "method": "OTHER", "route": "other", "status": 400, "client": "203.0.113.7", "error": "header_invalid",
    }  # fmt: skip
    assert status == 400
    assert _refused_of_other_methods() == before + 1


def _refused_of_other_methods() -> int:
    found = {(each.method, each.route): each.by_status for each in request_metrics.traffic()}
    return found.get(("OTHER", "other"), {}).get("400", 0)


def test_the_large_body_that_lags_makes_room() -> None:
    async def play() -> None:
        room = Room(100)
        loop = asyncio.get_running_loop()
        now = loop.time()
        idle, busy = (Body(asyncio.timeout_at(now + 60), now) for _ in range(2))
        for body in (idle, busy):
            room.enter(body)

        async def arrive() -> None:
            async with idle._deadline:
                room.take(idle, 60, now)
                # No client lags by a second yet.
                with pytest.raises(Refused, match="busy"):
                    room.take(busy, 60, now + 0.5)
                room.leave(busy)
                room.enter(busy)
                room.take(busy, 60, now + 2)
                await asyncio.sleep(5)

        with pytest.raises(TimeoutError):
            await arrive()
        assert (idle.size, busy.size) == (0, 60)
        room.leave(busy)
        room.enter(busy)
        room.take(busy, 100, now)

    asyncio.run(play())
