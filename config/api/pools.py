"""
On which threads a request is answered.

Most answers take milliseconds and share a few threads. What waits for other machines, or keeps a processor busy with a
password, runs on separate threads: while these are busy, other requests are still answered. A view declares its pool
(`@answered_on`), the server reads it from the URL conf (`pool_of`), and `tests/api/test_pools.py` finds a view that
waits and does not say so.
"""

import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from enum import StrEnum
from types import MappingProxyType
from typing import Any, Final, NamedTuple, TypeVar

from django.urls import URLPattern, URLResolver
from django.urls.resolvers import RegexPattern

F = TypeVar("F", bound=Callable[..., Any])
_NAMED_GROUP: Final = re.compile(r"\(\?P<\w+>")


class Pool(StrEnum):
    """The groups of threads."""

    ORDINARY = "ordinary"
    # Waits for RAIDA servers, or for a worker that asks them.
    WAITING = "waiting"
    # Computes what a password hashes to.
    PASSWORDS = "passwords"
    # Needs neither database nor broker.
    ALIVE = "alive"


class Size(NamedTuple):
    """How many threads of one process a pool has, and how many requests may wait for one of them."""

    threads: int
    waiting: int


# Each thread keeps a database connection once it has needed one: two processes have up to 30.
SIZES: Final[Mapping[Pool, Size]] = MappingProxyType(
    {
        # Four threads keep a core busy while others wait for PostgreSQL; more only wait for each other.
        Pool.ORDINARY: Size(4, 512),
        Pool.WAITING: Size(8, 16),
        Pool.PASSWORDS: Size(2, 32),
        Pool.ALIVE: Size(1, 64),
    }
)


def answered_on(pool: Pool) -> Callable[[F], F]:
    """Say of a view, or of an action of a view set, on which threads it runs."""

    def decorate(view: F) -> F:
        view.pool = pool  # type: ignore[attr-defined]
        return view

    return decorate


class Route(NamedTuple):
    """A path of the URL conf: a regular expression for what follows the first slash, and its view's callback."""

    pattern: str
    callback: Callable[..., Any]

    @property
    def pools(self) -> set[Pool]:
        """What its view says, or the actions of its view set."""
        actions: Mapping[str, str] = getattr(self.callback, "actions", None) or {}
        views = [getattr(self.callback.cls, action) for action in actions.values()] if actions else [self.callback]  # type: ignore[attr-defined]
        return {getattr(view, "pool", Pool.ORDINARY) for view in views}


def routes(patterns: Sequence[URLPattern | URLResolver], prefix: str = "") -> Iterator[Route]:
    """Walk a URL conf."""
    for entry in patterns:
        here = prefix + _expression(entry.pattern)
        if isinstance(entry, URLResolver):
            yield from routes(entry.url_patterns, here)
        else:
            yield Route(here, entry.callback)


def _expression(pattern: Any) -> str:
    if isinstance(pattern, RegexPattern):
        return _NAMED_GROUP.sub("(?:", str(pattern).removeprefix("^"))
    # Of a `path()`, or of one like it: its own regular expression.
    return _NAMED_GROUP.sub("(?:", str(pattern.regex.pattern).removeprefix("^"))


def pool_of(patterns: Sequence[URLPattern | URLResolver]) -> Callable[[str], Pool]:
    """
    Return a function that tells the pool of a path, its leading slash included.

    One regular expression, because a look at Django's whole URL conf would cost each request 3 % of its time.
    """
    by_pool: dict[Pool, list[str]] = {}
    for route in routes(patterns):
        for pool in route.pools - {Pool.ORDINARY}:
            by_pool.setdefault(pool, []).append(route.pattern)
    if not by_pool:
        return lambda path: Pool.ORDINARY
    alternatives = "|".join(f"(?P<{pool}>{'|'.join(found)})" for pool, found in by_pool.items())
    # Some paths may be written in any case. To take another for one of them does no harm.
    match = re.compile(f"/(?:{alternatives})", re.IGNORECASE).match
    pools = {str(pool): pool for pool in Pool}

    def find(path: str) -> Pool:
        found = match(path)
        return Pool.ORDINARY if found is None else pools[str(found.lastgroup)]

    return find
