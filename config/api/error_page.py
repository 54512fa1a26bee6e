"""The page `/docs/errors`: every row of the table of errors, which the `Link` header of an error response names."""

from collections.abc import Iterator
from typing import Any, Final

from django.http import HttpRequest, HttpResponse
from django.shortcuts import render
from django.urls import get_script_prefix
from django.views.decorators.http import require_safe

from config.api.error_codes import CODES, ErrorCode, Where
from config.api.errors import later_statuses
from config.web.docs_pages import around
from config.web.security_headers import READING_POLICY

_ABOUT: Final = {
    Where.ALL: ("All paths", "Every path may answer with these."),
    Where.TREETRACKER: (
        "Wallets, tokens, trusts, transfers and webhooks",
        "Paths at the root, below /wallet/ and below /wallet/v2/.",
    ),
    Where.LOCKERS: ("Coins and lockers", "Paths below /api/."),
    Where.OPERATORS: (
        "The admin and commands",
        "Operators read these messages on pages of the admin and in the output of commands. The API does not answer"
        " with them.",
    ),
}


@require_safe
def error_page(request: HttpRequest) -> HttpResponse:
    """Show the page, without credentials."""
    context = around("docs/errors", "Errors of the API", get_script_prefix()) | {"sections": list(_sections())}
    response = render(request, "docs/errors.html", context)
    response.headers["Content-Security-Policy"] = READING_POLICY
    return response


def _sections() -> Iterator[dict[str, Any]]:
    for where, (title, about) in _ABOUT.items():
        rows = [{"code": code, "status": _statuses(code)} for code in CODES.values() if code.where is where]
        yield {"title": title, "about": about, "rows": rows}


def _statuses(code: ErrorCode) -> str:
    """Return the statuses of a code in words; "" for one that is in no response of the API."""
    if code.where is Where.OPERATORS:
        return ""
    words = _either([code.status, *code.also])
    later = later_statuses(code)
    if code.locker_status and later == [code.locker_status]:
        return f"{words}; below /wallet/v2/ and /api/ {code.locker_status}"
    if later and later != [code.status, *code.also]:
        words += f"; below /wallet/v2/ {_either(later)}"
    return words


def _either(statuses: list[int]) -> str:
    *first, last = map(str, statuses)
    return f"{', '.join(first)} or {last}" if first else last
