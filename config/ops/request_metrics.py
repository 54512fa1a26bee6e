"""
Counting requests, in every process of the web server, into one place.

Each process adds up in memory and hands its sums to the broker's server every second, so that whichever process is
asked for the figures answers for all of them, on all machines, and a process that is replaced takes nothing with it.

Decided 2026-11-21, against prometheus_client's multiprocess mode: its files must lie in a directory that all
processes of one machine share and that is emptied at each start, a replaced process leaves its own behind, and two
machines are two targets. And against a round trip for each request: that is a tenth of a small request.
What is given up: the requests of the last second, if a process is killed.
"""

import atexit
import re
import threading
import time
from bisect import bisect_left
from collections import defaultdict
from collections.abc import Callable
from functools import lru_cache
from typing import Final, NamedTuple

from django.conf import settings
from django.http import HttpRequest, HttpResponse

from config.ops import access_log, redis_status

KEY: Final = "coppice:traffic"
HAND_OVER_SECONDS: Final = 1.0
# Upper ends in seconds. The last bucket has none.
BUCKETS: Final = (0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0)
# Of a request that reached no view.
NO_ROUTE: Final = "other"
# Counted apart from 500: seed 001 has a code that opens nothing answered so, and a client may send as many as it likes.
REFUSED_BY_500: Final = "500-refused"
_METHODS: Final = frozenset({"GET", "HEAD", "OPTIONS", "POST", "PUT", "PATCH", "DELETE"})
# Between the parts of a counter's name; no method, path pattern or status holds one.
_PART: Final = " "
_GROUP: Final = re.compile(r"\(\?P<(\w+)>(?:[^()]|\([^()]*\))*\)")
_CONVERTER: Final = re.compile(r"<(?:\w+:)?(\w+)>")

_sums: defaultdict[tuple[str, str, object], int] = defaultdict(int)
_lock: Final = threading.Lock()


def count_requests(get_response: Callable[[HttpRequest], HttpResponse]) -> Callable[[HttpRequest], HttpResponse]:
    """Middleware around all others: count each request and log it, by the pattern of its path."""

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
    """Return the method if it is a usual one, else "OTHER"."""
    return text if text in _METHODS else "OTHER"


def count(method: str, route: str, status: int | str, seconds: float) -> None:
    """Count one request."""
    with _lock:
        _sums[method, route, status] += 1
        _sums[method, route, f"b{bisect_left(BUCKETS, seconds)}"] += 1
        _sums[method, route, "us"] += int(seconds * 1e6)


@lru_cache(maxsize=512)
def readable(route: str) -> str:
    """Turn the pattern that matched into a path as people write it, the same for both prefixes of one endpoint."""
    path = _GROUP.sub(r"{\1}", route)
    for noise in ("/?", "^", "$", "\\Z", "\\", "?"):
        path = path.replace(noise, "")
    path = _CONVERTER.sub(r"{\1}", path).strip("/")
    return "/" + path.removeprefix("wallet/").replace(_PART, "")


def hand_over() -> None:
    """Add what was counted here to what all processes counted. If nobody answers, it is kept for the next time."""
    with _lock:
        counted = dict(_sums)
        _sums.clear()
    if not counted:
        return
    try:
        redis_status.add_up(
            settings.REDIS_URL, KEY, {_PART.join(map(str, name)): sum_ for name, sum_ in counted.items()}
        )
    except redis_status.BrokerSilent:
        with _lock:
            for name, sum_ in counted.items():
                _sums[name] += sum_


def hand_over_regularly() -> None:
    """Start the thread that does so, in a process that serves requests."""

    def work() -> None:
        while True:
            time.sleep(HAND_OVER_SECONDS)
            hand_over()

    threading.Thread(target=work, name="traffic", daemon=True).start()
    atexit.register(hand_over)


class Traffic(NamedTuple):
    """The requests of one kind since the beginning."""

    method: str
    route: str
    by_status: dict[str, int]
    # Not cumulative; one more than BUCKETS.
    buckets: list[int]
    seconds: float


def traffic() -> list[Traffic]:
    """
    Return what all processes have counted, this one up to now.

    :raises config.ops.redis_status.BrokerSilent: nobody has it
    """
    hand_over()
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
