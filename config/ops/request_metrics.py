"""
Request metrics of all web processes.

Each process counts in memory and adds its counts to the broker's server every second, so that any process on any
machine can report the totals.

Decided 2026-11-21 against prometheus_client's multiprocess mode, which needs a directory that the processes of one
machine share and that is emptied at each start, leaves files of replaced processes, and makes each machine a target;
and against a round trip per request, which would add a tenth to a small request. A killed process loses the counts of
its last second.
"""

import atexit
import re
import threading
import time
from bisect import bisect_left
from collections import defaultdict
from collections.abc import Callable
from functools import lru_cache
from typing import Any, Final, NamedTuple

from django.conf import settings
from django.http import HttpRequest, HttpResponse

from config.api.treetracker import v2
from config.ops import access_log, redis_status
from config.ops.access_log import NO_ROUTE

KEY: Final = "coppice:traffic"
FLUSH_SECONDS: Final = 1.0
# Upper bounds in seconds. The last bucket has none.
BUCKETS: Final = (0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0)
# Counted apart from 500: seed 001 prescribes 500 for a code without a locker, which clients may send at will.
REFUSED_BY_500: Final = "500-refused"
_METHODS: Final = frozenset({"GET", "HEAD", "OPTIONS", "POST", "PUT", "PATCH", "DELETE"})
# Separates the parts of a counter's name; no method, route or status contains it.
_PART: Final = " "
_GROUP: Final = re.compile(r"\(\?P<(\w+)>(?:[^()]|\([^()]*\))*\)")
_CONVERTER: Final = re.compile(r"<(?:\w+:)?(\w+)>")

_sums: defaultdict[tuple[str, str, object], int] = defaultdict(int)
# Who answered reads that a replica may answer: `config.postgresql.replica`.
READS_KEY: Final = "coppice:reads"
_reads: defaultdict[str, int] = defaultdict(int)
_lock: Final = threading.Lock()


def count_requests(get_response: Callable[[HttpRequest], HttpResponse]) -> Callable[[HttpRequest], HttpResponse]:
    """Middleware, the outermost: count and log each request by its route."""

    def answer(request: HttpRequest) -> HttpResponse:
        began = time.perf_counter()
        response = get_response(request)
        seconds = time.perf_counter() - began
        method = method_of(request.method)
        found = request.resolver_match
        route = NO_ROUTE if found is None else readable(found.route)
        status = REFUSED_BY_500 if getattr(request, "is_refusal_by_500", False) else response.status_code
        count(method, route, status, seconds)
        access_log.write_request(request, response, method=method, route=route, seconds=seconds)
        return response

    return answer


def method_of(text: str | None) -> str:
    """Return a standard method as it is, and "OTHER" for any other."""
    return text if text in _METHODS else "OTHER"


def count(method: str, route: str, status: int | str, seconds: float) -> None:
    """Count one request."""
    with _lock:
        _sums[method, route, status] += 1
        _sums[method, route, f"b{bisect_left(BUCKETS, seconds)}"] += 1
        _sums[method, route, "us"] += int(seconds * 1e6)


def count_read(served_by: str) -> None:
    """Count a read that a replica may answer, by the server that answered it: "replica" or "primary"."""
    with _lock:
        _reads[served_by] += 1


def reads() -> dict[str, int]:
    """
    Return the counts of `count_read` of all processes.

    :raises config.ops.redis_status.BrokerSilent: no answer
    """
    flush()
    return {"replica": 0, "primary": 0} | redis_status.sums(settings.REDIS_URL, READS_KEY)


@lru_cache(maxsize=512)
def readable(route: str) -> str:
    """
    Turn a URL pattern into a readable path, the same at the root and below `/wallet`.

    Paths below `/wallet/v2`, where answers differ, have routes of their own.
    """
    path = _GROUP.sub(r"{\1}", route)
    for noise in ("/?", "^", "$", "\\Z", "\\", "?"):
        path = path.replace(noise, "")
    path = _CONVERTER.sub(r"{\1}", path).strip("/")
    if not path.startswith(v2.PREFIX):
        path = path.removeprefix("wallet/")
    return "/" + path.replace(_PART, "")


def flush() -> None:
    """Add the counts of this process to the shared counters. If the server does not answer, they are kept."""
    _flush(KEY, _sums, lambda name: _PART.join(map(str, name)))
    _flush(READS_KEY, _reads, str)


def _flush(key: str, counts: defaultdict[Any, int], text: Callable[[Any], str]) -> None:
    with _lock:
        counted = dict(counts)
        counts.clear()
    if not counted:
        return
    try:
        redis_status.add_up(settings.REDIS_URL, key, {text(name): sum_ for name, sum_ in counted.items()})
    except redis_status.BrokerSilent:
        with _lock:
            for name, sum_ in counted.items():
                counts[name] += sum_


def flush_regularly() -> None:
    """Start a thread that flushes every second."""

    def work() -> None:
        while True:
            time.sleep(FLUSH_SECONDS)
            flush()

    threading.Thread(target=work, name="request-metrics", daemon=True).start()
    atexit.register(flush)


class Traffic(NamedTuple):
    """All requests with one method and route."""

    method: str
    route: str
    by_status: dict[str, int]
    # Not cumulative; one more than BUCKETS.
    buckets: list[int]
    seconds: float


def traffic() -> list[Traffic]:
    """
    Return the counts of all processes, with those of this process up to now.

    :raises config.ops.redis_status.BrokerSilent: no answer
    """
    flush()
    kinds: dict[tuple[str, str], Traffic] = {}
    for name, sum_ in sorted(redis_status.sums(settings.REDIS_URL, KEY).items()):
        method, route, what = name.split(_PART)
        kind = kinds.setdefault((method, route), Traffic(method, route, {}, [0] * (len(BUCKETS) + 1), 0.0))
        if what == "us":
            kinds[method, route] = kind._replace(seconds=sum_ / 1e6)
        elif what.startswith("b"):
            kind.buckets[int(what[1:])] = sum_
        else:
            kind.by_status[what] = sum_
    return list(kinds.values())
