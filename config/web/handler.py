"""Django's WSGI handler with less work for each request. tests/benchmarks/README.md has the measurements."""

import codecs
from typing import Any, Final

from django.conf import settings
from django.core.cache import close_caches
from django.core.handlers.base import reset_urlconf
from django.core.handlers.wsgi import WSGIHandler, WSGIRequest
from django.core.signals import request_finished, request_started
from django.db import close_old_connections, reset_queries
from django.http import HttpRequest
from django.urls import ResolverMatch
from django.utils.http import parse_header_parameters

# Some fifty paths have no id, but upper and lower case may be mixed.
_PATHS_AT_MOST: Final = 500
# Charsets of `Content-Type`, by the names that `codecs` has for them. Another one is ignored.
_CHARSETS: Final = frozenset({"ascii", "cp1252", "iso8859-1", "utf-8"})


class Request(WSGIRequest):
    """
    A request whose `Content-Type` cannot name a codec that fails.

    Django decodes query and form by any codec of Python, of which some are none of text (`zlib`), and others raise
    what it does not expect (`idna`); and it raises for a parameter in a charset that it does not know (RFC 2231).
    """

    def _set_content_type_params(self, meta: dict[str, Any]) -> None:
        try:
            self.content_type, self.content_params = parse_header_parameters(meta.get("CONTENT_TYPE", ""))
        except ValueError:
            # For all who read it again.
            meta["CONTENT_TYPE"] = self.content_type = meta["CONTENT_TYPE"].partition(";")[0].strip().lower()
            self.content_params = {}
        charset = self.content_params.get("charset")
        if charset is None:
            return
        try:
            is_known = codecs.lookup(charset).name in _CHARSETS
        except (LookupError, ValueError):
            return
        if is_known:
            self.encoding = charset


class Handler(WSGIHandler):
    """Resolves each path without an id once."""

    request_class = Request

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
