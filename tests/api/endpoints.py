"""Every endpoint of the URL conf, so that a new one cannot be forgotten by the tests that go through all of them."""

import re
from collections.abc import Callable, Iterator
from typing import Any

from django.urls import URLPattern, URLResolver

from config.api.views import ApiViewSet


def endpoints(resolver: URLResolver, prefix: str = "") -> Iterator[tuple[str, str, Callable[..., Any]]]:
    """
    Give method, path and action of each, as `("GET", "/wallets/{wallet_id}", …)`.

    The public prefix is left out, and so are other names of the same.
    """
    for each in resolver.url_patterns:
        written = prefix + str(each.pattern)
        if isinstance(each, URLResolver):
            if str(each.pattern) not in {"wallet/", "wallet/v2/"}:
                yield from endpoints(each, written)
        elif isinstance(each, URLPattern) and issubclass(getattr(each.callback, "cls", object), ApiViewSet):
            if each.callback.initkwargs.get("is_alias"):
                continue
            for method, action in each.callback.actions.items():
                if method != "head":
                    yield method.upper(), "/" + _path(written), getattr(each.callback.cls, action)


def _path(pattern: str) -> str:
    path = re.sub(r"\(\?P<(\w+)>[^)]*\)", r"{\1}", pattern)
    return path.replace("^", "").replace("/?$", "").replace("s?/", "/")
