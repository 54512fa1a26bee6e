"""Django's WSGI handler with less work for each request. tests/benchmarks/README.md has the measurements."""

from typing import Final

from django.conf import settings
from django.core.cache import close_caches
from django.core.handlers.base import reset_urlconf
from django.core.handlers.wsgi import WSGIHandler
from django.core.signals import request_finished, request_started
from django.db import close_old_connections, reset_queries
from django.http import HttpRequest
from django.urls import ResolverMatch

# Some fifty paths have no id, but upper and lower case may be mixed.
_PATHS_AT_MOST: Final = 500


class Handler(WSGIHandler):
    """Resolves each path without an id once."""

    def __init__(self) -> None:
        super().__init__()
        self._matches: dict[str, ResolverMatch] = {}

    def resolve_request(self, request: HttpRequest) -> ResolverMatch:
        path = request.path_info
        match = self._matches.get(path)
        if match is None:
            match = super().resolve_request(request)
            if not match.args and not match.kwargs and len(self._matches) < _PATHS_AT_MOST:
                self._matches[path] = match
        request.resolver_match = match
        return match


def drop_needless_receivers() -> None:
    """
    Disconnect what Django does at the beginning or the end of each request to no effect here.

    No configured cache holds a connection, no request sets its own URL configuration, and Django records statements
    only while debugging.
    Old connections are closed before the next request of the thread.
    """
    request_finished.disconnect(close_caches)
    request_finished.disconnect(reset_urlconf)
    request_finished.disconnect(close_old_connections)
    if not settings.DEBUG:
        request_started.disconnect(reset_queries)
