"""
Pages that a replica may answer, and the reader's own writes.

After each request of a page that may write, a cookie holds the position of the primary's log for as long as a replica
may lag. A replica that has not replayed it answers no page of that browser.
"""

import re
from collections.abc import Callable
from http import HTTPStatus
from math import ceil
from typing import Any, Final

from django.conf import settings
from django.db import Error
from django.http import Http404, HttpRequest, HttpResponse, StreamingHttpResponse
from django.http.response import HttpResponseBase

from config.postgresql import replica
from config.web import pages

COOKIE: Final = "coppice_written"
_POSITION: Final = re.compile(r"[0-9A-F]{1,8}/[0-9A-F]{1,8}", re.ASCII)
_SAFE: Final = ("GET", "HEAD", "OPTIONS")
# `Reading` of the replica that answers, on the request while its page is rendered.
READING: Final = "reading"


def note_writes(get_response: Callable[[HttpRequest], HttpResponse]) -> Callable[[HttpRequest], HttpResponse]:
    """Middleware: set the cookie. Without it the reader could miss what was just written."""

    def answer(request: HttpRequest) -> HttpResponse:
        response = get_response(request)
        if request.method not in _SAFE and pages.is_page(request.path_info) and replica.is_configured():
            try:
                position = replica.position()
            except Error:
                # It may have been written nevertheless.
                position = replica.NEVER
            response.set_cookie(
                COOKIE,
                position,
                max_age=ceil(settings.REPLICA_MAX_LAG) + 1,
                path=settings.SESSION_COOKIE_PATH,
                secure=bool(settings.SESSION_COOKIE_SECURE),
                httponly=True,
                samesite="Lax",
            )
        return response

    return answer


def answered(request: HttpRequest, view: Callable[[], HttpResponseBase]) -> HttpResponseBase:
    """
    Return the response of a view, rendered, from the replica if it may answer.

    `view` only reads, and may be called twice. What the replica does not find, the primary is asked for.
    """
    written = request.COOKIES.get(COOKIE, replica.BEGINNING)
    if _POSITION.fullmatch(written) is None:
        written = replica.NEVER
    if pages.is_desk(request.path_info):
        # Roles are looked up on the primary, and remembered by the user of the request.
        request.user.has_perm("wallets.view_wallet")

    def question(found: replica.Reading | None) -> HttpResponseBase:
        setattr(request, READING, found)
        response = view()
        render: Any = getattr(response, "render", None)
        if render is not None:
            render()
        if found is not None and isinstance(response, StreamingHttpResponse):
            response.streaming_content = replica.Begun(iter(response.streaming_content))  # type: ignore[arg-type]
        return response

    try:
        response = replica.read(question, after=written)
    except Http404:
        if getattr(request, READING) is None:
            raise
    else:
        if getattr(request, READING) is None or response.status_code != HTTPStatus.NOT_FOUND:
            return response
    return question(None)
