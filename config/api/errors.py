"""
Error responses: one table of codes (`config.api.error_codes`), three formats.

Treetracker paths respond with `{"code", "message"}`, locker paths with `{"status": "error", "error": true, "message",
"code", …}`, where `code` is the status. Paths that neither of the two services has respond with problem details
(RFC 9457, `is_problem_path`). The code is in the header `Error-Code`. All errors pass this module, including those of
unknown paths and of middlewares.
"""

import logging
import re
import sys
from collections.abc import Mapping
from typing import Any, Final

import orjson
from django.conf import settings
from django.contrib import admin
from django.core import exceptions as django_errors
from django.core.signals import got_request_exception
from django.db import Error as DatabaseError
from django.db import InterfaceError, OperationalError
from django.http import Http404, HttpRequest, HttpResponse
from django.shortcuts import render
from django.template.loader import render_to_string
from django.urls import get_script_prefix
from django.views import csrf, defaults
from rest_framework import exceptions as drf_errors

from config.api import error_codes as codes
from config.api.domain_error_codes import BY_CLASS
from config.api.error_codes import ErrorCode
from config.api.renderers import Response
from config.api.treetracker import v2
from config.web.pages import DESK, PUBLIC, is_page
from lockers.errors import ServersDisagreed
from transfers import errors as transfers_errors
from wallets.errors import DomainError

log = logging.getLogger("coppice.api")

# SQLSTATEs after which the same request may be retried: locks, timeouts, restarts. The classes 08 (connections) and 53
# (resources) are transient too.
_TRANSIENT: Final = {"55P03", "57014", "40P01", "40001", "25P03", "25006", "57P01", "57P02", "57P03"}
RETRY_AFTER_SECONDS: Final = "1"
# The database is read-only, such as a standby server. A failover takes a while.
_READ_ONLY: Final = "25006"
READ_ONLY_RETRY_AFTER_SECONDS: Final = "10"
CHALLENGE: Final = 'Bearer realm="coppice"'
_PROBLEM_PATH: Final = re.compile(
    r"(?:/wallet(?:/v2)?)?/(auth/(password|sessions|token)|keys|webhooks|api/v1/payment-requests)(/|\Z)"
)


class RequestRefused(drf_errors.APIException):
    """A request that is refused before any domain rule applies. `status` replaces that of the code."""

    def __init__(
        self, code: ErrorCode, message: str, headers: Mapping[str, str] | None = None, *, status: int | None = None
    ) -> None:
        super().__init__(message)
        self.code = code
        self.status_code = status or code.status
        self.message = message
        self.headers = dict(headers or {})


class Invalid(RequestRefused):
    """
    Values of the path, the query or the body are invalid: 422.

    v1 names the first of the problems, v2 all of them.
    """

    def __init__(self, *problems: str, code: ErrorCode = codes.INVALID_VALUE) -> None:
        super().__init__(code, problems[0])
        self.problems = problems


def code_of(error: DomainError) -> ErrorCode | None:
    """
    Return the code of a domain error, or None for a class that is not in the table.

    A batch with one refused row has the code of that row.
    """
    if isinstance(error, transfers_errors.RowsRefused) and len(error.problems) == 1:
        [error] = error.problems.values()
    if isinstance(error, ServersDisagreed) and error.is_refusal:
        return codes.LOCKER_CODE_REFUSED
    return next((BY_CLASS[kind] for kind in type(error).__mro__ if kind in BY_CLASS), None)


def status_of(error: DomainError) -> int | None:
    """
    Return the HTTP status of a domain error, or None for a class that is not in the table.

    Refused rows have their common status, if they have one.
    """
    if isinstance(error, transfers_errors.RowsRefused):
        statuses = {status_of(each) for each in error.problems.values()}
        if len(statuses) == 1:
            return statuses.pop()
    code = code_of(error)
    return None if code is None else code.status


# Below `/wallet/v2`, of errors without a class.
_LATER: Final = {
    codes.BEARER_TOKEN_MISSING: v2.BEARER_REFUSED,
    codes.BEARER_TOKEN_INVALID: v2.BEARER_REFUSED,
    codes.BATCH_ACCESS_DENIED: v2.BATCH_REFUSED[0],
}


def later_statuses(code: ErrorCode) -> list[int]:
    """Return the statuses of a code below `/wallet/v2`, the usual one first; none if it does not occur there."""
    if code.where not in {codes.Where.ALL, codes.Where.TREETRACKER}:
        return []
    usual = _LATER.get(code, code.status)
    found: list[int] = []
    for kind, of_kind in BY_CLASS.items():
        if of_kind is code:
            usual = v2.status_of(kind) or usual
            found += v2.statuses_of_actions(kind)
    return list(dict.fromkeys([usual, *code.also, *found]))


def statuses(code: ErrorCode) -> set[int]:
    """Return every status with which a code occurs."""
    return {code.status, *code.also, *later_statuses(code)} | ({code.locker_status} if code.locker_status else set())


def headers_of(code: ErrorCode) -> dict[str, str]:
    """Return the headers that name the code and its documentation (RFC 8288)."""
    return {"Error-Code": code.name, "Link": f'<{_documentation_of(code)}>; rel="help"'}


def _documentation_of(code: ErrorCode) -> str:
    return f"{settings.PUBLIC_URL or settings.PATH_PREFIX}/docs/errors#{code.name}"


def is_locker_path(path: str) -> bool:
    """
    Return whether a path, without the prefix of the public URL, belongs to the locker API.

    Locker paths need no API key. They have the locker error format unless `is_problem_path`.
    """
    return path.startswith("/api/")


def is_problem_path(path: str) -> bool:
    """Return whether errors of a path, without the prefix of the public URL, are problem details (RFC 9457)."""
    return _PROBLEM_PATH.match(path) is not None


def content_type_of(path: str) -> str:
    """Return the content type of an error in the format of the path."""
    return "application/problem+json" if is_problem_path(path) else "application/json"


def body_of(
    path: str,
    code: ErrorCode,
    message: str,
    *,
    status: int = 0,
    extra: Mapping[str, Any] | None = None,
    request_id: str | None = None,
) -> dict[str, Any]:
    """
    Return the body of an error in the format of the path. `status` replaces that of the code.

    Clients of seed 000 read only `status`; without it they would poll forever for a task that does not exist.
    """
    status = status or code.status
    if is_problem_path(path):
        problem: dict[str, Any] = {
            "type": _documentation_of(code),
            "title": code.title,
            "status": status,
            "detail": message,
            "code": code.name,
        }
        return problem | ({} if request_id is None else {"instance": request_id}) | dict(extra or {})
    if is_locker_path(path):
        return {"status": "error", "error": True, "message": message, "code": status, **(extra or {})}
    return {"code": status, "message": message, **(extra or {})}


def answer(
    request: HttpRequest, code: ErrorCode, message: str, headers: Mapping[str, str] | None = None
) -> HttpResponse:
    """Return an error response outside of REST framework views, and store its code for the access log."""
    _note(request, code)
    path = request.path_info
    return HttpResponse(
        orjson.dumps(body_of(path, code, message, request_id=getattr(request, "request_id", None))),
        status=code.status,
        content_type=content_type_of(path),
        headers={**(headers or {}), **headers_of(code)},
    )


def exception_handler(error: Exception, context: Mapping[str, Any]) -> Response:
    """Turn an exception of a view into a response. Never raises; unexpected exceptions are not shown."""
    request = context["request"]
    status = 0
    extra: Mapping[str, Any] = {}
    headers: Mapping[str, str] = {}
    match error:
        case DomainError() if (known := code_of(error)) is not None:
            code, status, message = known, status_of(error) or known.status, str(error)
            if v2.is_v2(request):
                action = _action(context)
                status, message = v2.refusal(action, error, status=status, message=message)
                code = BY_CLASS[kind] if (kind := v2.told_as(action, error)) else code
            extra = getattr(error, "extra", {})
            headers = getattr(error, "headers", {})
        case Invalid() if v2.is_v2(request):
            code, message = error.code, v2.invalid(_action(context), ";".join(error.problems))
        case RequestRefused():
            code, status, message, headers = error.code, error.status_code, error.message, error.headers
        case drf_errors.MethodNotAllowed():
            code, message = codes.METHOD_NOT_ALLOWED, f"Method {request.method} is not allowed"
        case drf_errors.UnsupportedMediaType():
            code, message = codes.CONTENT_TYPE_UNSUPPORTED, "Invalid content type. API only supports application/json"
        case Http404() | drf_errors.NotFound():
            code, message = codes.PATH_UNKNOWN, f"Cannot {request.method} {request.path}"
        case drf_errors.NotAuthenticated() | drf_errors.AuthenticationFailed():
            refused = bearer_refused(request.path_info, is_v2=v2.is_v2(request))
            code, status, message, headers = refused.code, refused.status_code, refused.message, refused.headers
        case django_errors.PermissionDenied() | drf_errors.PermissionDenied():
            code, message = codes.FORBIDDEN, "Forbidden"
        case drf_errors.NotAcceptable():
            code, message = codes.NOT_ACCEPTABLE, "API only offers application/json"
        case drf_errors.Throttled():
            code, message = codes.TOO_MANY_REQUESTS, "Too many requests"
            headers = {"Retry-After": RETRY_AFTER_SECONDS}
        case django_errors.RequestDataTooBig():
            code, message = codes.BODY_TOO_LARGE, "Request entity too large"
        case django_errors.TooManyFilesSent():
            code, message = codes.TOO_MANY_FILES, f"At most {settings.DATA_UPLOAD_MAX_NUMBER_FILES} files at once"
        case drf_errors.ParseError() | django_errors.BadRequest() | django_errors.SuspiciousOperation():
            code, message = codes.MALFORMED_REQUEST, "Malformed request"
        case DatabaseError() if is_transient(error):
            code, message, headers = _transient_response(error)
        case _:
            log.error("unexpected_error", exc_info=error, extra={"request_id": getattr(request, "request_id", None)})
            # For error reporters and the test client.
            got_request_exception.send(sender=exception_handler, request=request)
            code, message = codes.INTERNAL_ERROR, "Unknown error"
    status = status or code.status
    django_request = getattr(request, "_request", request)
    # Read by `config.ops.logs`, `config.ops.access_log` and `config.ops.request_metrics`.
    django_request.was_refused_knowingly = True
    django_request.error_code = code.name
    django_request.is_refusal_by_500 = isinstance(error, ServersDisagreed) and error.is_refusal
    path = request.path_info
    return Response(
        body_of(
            path,
            code,
            message,
            status=status,
            extra=extra,
            request_id=getattr(django_request, "request_id", None),
        ),
        status=status,
        headers={**headers, **headers_of(code)},
        content_type=content_type_of(path),
    )


def _action(context: Mapping[str, Any]) -> str:
    view = context.get("view")
    return f"{type(view).__name__}.{getattr(view, 'action', '')}"


def is_transient(error: DatabaseError) -> bool:
    """Return whether the same request may succeed a moment later."""
    state = getattr(error.__cause__, "sqlstate", None)
    if state is None:
        # No response of the server: the connection is lost.
        return isinstance(error, OperationalError | InterfaceError)
    return state in _TRANSIENT or state[:2] in {"08", "53"}


def _transient_response(error: DatabaseError) -> tuple[ErrorCode, str, dict[str, str]]:
    """Log a transient error of the database, and return the code, message and headers of its 503 response."""
    state = getattr(error.__cause__, "sqlstate", None)
    # Without a traceback: while PostgreSQL restarts, every request fails here.
    log.warning("database_is_busy", extra={"error": type(error).__name__, "sqlstate": state})
    if state == _READ_ONLY:
        headers = {"Retry-After": READ_ONLY_RETRY_AFTER_SECONDS}
        return codes.SERVICE_READ_ONLY, "Service is read-only for now, try again", headers
    return codes.SERVICE_BUSY, "Service busy, try again", {"Retry-After": RETRY_AFTER_SECONDS}


def bearer_refused(path: str, *, is_v2: bool = False, is_missing: bool = False) -> RequestRefused:
    """Return the error for a missing, unknown, expired or revoked bearer token: the same for all but a missing one."""
    code = codes.BEARER_TOKEN_MISSING if is_missing else codes.BEARER_TOKEN_INVALID
    is_later = is_locker_path(path) or is_problem_path(path)
    status = code.locker_status if is_later else v2.BEARER_REFUSED if is_v2 else code.status
    message = v2.BEARER_MISSING if is_missing and is_v2 else "ERROR: Authentication, token not verified"
    return RequestRefused(code, message, {"WWW-Authenticate": CHALLENGE}, status=status)


def _note(request: HttpRequest, code: ErrorCode) -> None:
    """Store the code for `config.ops.access_log`."""
    request.error_code = code.name  # type: ignore[attr-defined]


def bad_request(request: HttpRequest, exception: Exception) -> HttpResponse:
    if isinstance(exception, django_errors.RequestDataTooBig):
        return answer(request, codes.BODY_TOO_LARGE, "Request entity too large")
    return answer(request, codes.MALFORMED_REQUEST, "Malformed request")


def _desk_page(request: HttpRequest, template: str, status: int) -> HttpResponse | None:
    """Return a refusal with the navigation of the admin, or None for a path that is not below it."""
    if not request.path_info.startswith(DESK):
        return None
    return render(request, template, admin.site.each_context(request), status=status)


def permission_denied(request: HttpRequest, exception: Exception) -> HttpResponse:
    if is_page(request.path_info):
        _note(request, codes.FORBIDDEN)
        return _desk_page(request, "403.html", 403) or defaults.permission_denied(request, exception)
    return answer(request, codes.FORBIDDEN, "Forbidden")


def page_not_found(request: HttpRequest, exception: Exception) -> HttpResponse:
    if is_page(request.path_info):
        _note(request, codes.PATH_UNKNOWN)
        return _desk_page(request, "404.html", 404) or defaults.page_not_found(request, exception)
    return answer(request, codes.PATH_UNKNOWN, f"Cannot {request.method} {request.path}")


def csrf_failure(request: HttpRequest, reason: str = "") -> HttpResponse:
    _note(request, codes.CSRF_FAILED)
    if request.path_info.startswith(PUBLIC):
        context = {"home": get_script_prefix(), "title": "Please try again", "again": request.path_info}
        return HttpResponse(render_to_string("public/stale.html", context), status=403)
    return csrf.csrf_failure(request, reason)


def server_error(request: HttpRequest) -> HttpResponse:
    error = sys.exc_info()[1]
    if isinstance(error, DatabaseError) and is_transient(error):
        code, message, headers = _transient_response(error)
        if not is_page(request.path_info):
            return answer(request, code, message, headers)
        _note(request, code)
        page = render_to_string("503.html", {"message": message, "seconds": headers["Retry-After"]})
        return HttpResponse(page, status=503, headers=headers)
    if is_page(request.path_info):
        _note(request, codes.INTERNAL_ERROR)
        return defaults.server_error(request)
    return answer(request, codes.INTERNAL_ERROR, "Unknown error")
