"""
The middlewares that only pages need: static files, sessions, CSRF, sign-in and messages.

A request of the API passes each with one comparison. Django's own middlewares would cost it a third of what the web
server spends outside the view (measured 2026-11-29: 45 of 150 µs).

`CsrfViewMiddleware.process_view`, which refuses a form without its token, still runs for every view that is not exempt.
"""

from typing import Any, Final

from django.contrib.auth.middleware import AuthenticationMiddleware
from django.contrib.messages.middleware import MessageMiddleware
from django.contrib.sessions.middleware import SessionMiddleware
from django.http import HttpRequest
from django.middleware.csrf import CsrfViewMiddleware
from whitenoise.middleware import WhiteNoiseMiddleware  # type: ignore[import-untyped]

# Pages without a session: see `config.web.public_pages`.
PUBLIC: Final = ("/claim", "/pay")
DESK: Final = "/admin"
PREFIXES: Final = (DESK, "/docs", "/static", *PUBLIC)


def is_page(path: str) -> bool:
    """Return whether a path, without the prefix of the public URL, is one that people open in a browser."""
    return path.startswith(PREFIXES)


def is_desk(path: str) -> bool:
    """Return whether a path, without the prefix of the public URL, is one of the admin's."""
    return path.startswith(DESK)


class _ForPages:
    get_response: Any

    def __call__(self, request: HttpRequest) -> Any:
        if is_page(request.path_info):
            return super().__call__(request)  # type: ignore[misc]
        return self.get_response(request)


class StaticFiles(_ForPages, WhiteNoiseMiddleware):  # type: ignore[misc]
    pass


class Sessions(_ForPages, SessionMiddleware):
    pass


class Csrf(_ForPages, CsrfViewMiddleware):
    pass


class Authentication(_ForPages, AuthenticationMiddleware):
    pass


class Messages(_ForPages, MessageMiddleware):
    pass
