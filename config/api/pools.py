"""
Thread pools of the web server.

Most requests take milliseconds and share a few threads. Requests that wait for other machines, hash a password or
decode an image run in separate pools, so that they do not delay the others. A view declares its pool with
`@answered_on`, and the server reads it from the URL conf (`pool_of`). tests/api/test_pools.py finds views that wait
without a declaration.
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
    # Waits for RAIDA servers, or for a worker; draws a sheet of many links, for seconds; or hashes sealed blocks.
    WAITING = "waiting"
    # Hashes a password.
    PASSWORDS = "passwords"
    # Decodes images, half a second each. Only for forms: other requests to the same paths are ordinary.
    IMAGES = "images"
    # Needs neither database nor broker.
    ALIVE = "alive"


class Size(NamedTuple):
    """The threads of a pool in each process, and the requests that may wait for one of them."""

    threads: int
    waiting: int


# Each thread keeps its database connection: two processes have up to 36.
SIZES: Final[Mapping[Pool, Size]] = MappingProxyType(
    {
        # Four threads keep a core busy while others wait for PostgreSQL; more only wait for each other.
        Pool.ORDINARY: Size(4, 512),
        Pool.WAITING: Size(8, 16),
        Pool.PASSWORDS: Size(2, 32),
        # One decodes (`wallets.images`), one waits for it, and the third refuses the second image of a wallet and the
        # third of an API key (`config.api.limits`).
        Pool.IMAGES: Size(3, 16),
        Pool.ALIVE: Size(1, 64),
    }
)


def answered_on(pool: Pool) -> Callable[[F], F]:
    """Declare the pool of a view or of an action of a view set."""

    def decorate(view: F) -> F:
        view.pool = pool  # type: ignore[attr-defined]
        return view

    return decorate


class Route(NamedTuple):
    """A path of the URL conf: a regular expression without the leading slash, and the callback of its view."""

    pattern: str
    callback: Callable[..., Any]

    @property
    def pools(self) -> set[Pool]:
        """The pools of its view, or of the actions of its view set."""
        actions: Mapping[str, str] = getattr(self.callback, "actions", None) or {}
        views = [getattr(self.callback.cls, action) for action in actions.values()] if actions else [self.callback]  # type: ignore[attr-defined]
        return {getattr(view, "pool", Pool.ORDINARY) for view in views}


def routes(patterns: Sequence[URLPattern | URLResolver], prefix: str = "") -> Iterator[Route]:
    """Yield all routes of a URL conf."""
    for entry in patterns:
        here = prefix + _expression(entry.pattern)
        if isinstance(entry, URLResolver):
            yield from routes(entry.url_patterns, here)
        else:
            yield Route(here, entry.callback)


def _expression(pattern: Any) -> str:
    if isinstance(pattern, RegexPattern):
        return _NAMED_GROUP.sub("(?:", str(pattern).removeprefix("^"))
    return _NAMED_GROUP.sub("(?:", str(pattern.regex.pattern).removeprefix("^"))


def pool_of(patterns: Sequence[URLPattern | URLResolver]) -> Callable[[str, str], Pool]:
    """
    Return a function from a path, with its leading slash, and a content type to the pool.

    It uses one regular expression: to resolve the path in Django's URL conf would add 3 % to a request.
    """
    by_pool: dict[Pool, list[str]] = {}
    for route in routes(patterns):
        for pool in route.pools - {Pool.ORDINARY}:
            by_pool.setdefault(pool, []).append(route.pattern)
    if not by_pool:
        return lambda path, content_type: Pool.ORDINARY
    alternatives = "|".join(f"(?P<{pool}>{'|'.join(found)})" for pool, found in by_pool.items())
    # Some paths are case-insensitive. A false match of another one is harmless.
    match = re.compile(f"/(?:{alternatives})", re.IGNORECASE).match
    pools = {str(pool): pool for pool in Pool}

    def find(path: str, content_type: str) -> Pool:
        found = match(path)
        # Django reads a form only if its type begins so.
        if found is None or (found.lastgroup == Pool.IMAGES and not content_type.startswith("multipart/")):
            return Pool.ORDINARY
        return pools[str(found.lastgroup)]

    return find
