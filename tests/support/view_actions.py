"""The actions of all view sets, by the names of view set and action."""

from collections.abc import Callable
from typing import Any

from django.urls import get_resolver

from config.api.pools import routes

Owned = tuple[Callable[..., Any], type | None]


def actions() -> dict[str, Owned]:
    found: dict[str, Owned] = {}
    for route in routes(get_resolver().url_patterns):
        view_set = getattr(route.callback, "cls", None)
        for action in (getattr(route.callback, "actions", None) or {}).values():
            found[f"{view_set.__name__}.{action}"] = getattr(view_set, action), view_set
    return found
