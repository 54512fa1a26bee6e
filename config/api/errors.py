"""
Error responses: one table of status codes, two formats.

Treetracker paths respond with `{"code", "message"}`, locker paths with `{"status": "error", "error": true, "message",
"code", …}`. All errors pass this module, including those of unknown paths and of middlewares.
"""

import logging
import sys
from collections.abc import Mapping
from typing import Any, Final

import orjson
from django.conf import settings
from django.core import exceptions as django_errors
from django.core.signals import got_request_exception
from django.db import Error as DatabaseError
from django.db import InterfaceError, OperationalError
from django.http import Http404, HttpRequest, HttpResponse
from django.template.loader import render_to_string
from django.views import csrf, defaults
from rest_framework import exceptions as drf_errors
from rest_framework.response import Response

from config.api.treetracker import v2
from config.web.pages import is_page
from lockers import errors as lockers_errors
from lockers.errors import ServersDisagreed
from transfers import errors as transfers_errors
from transfers.captures import CapturesUnreadable
from trusts import errors as trusts_errors
from wallets import errors as wallets_errors
from wallets.errors import DomainError

log = logging.getLogger("coppice.api")

# The status of the most specific class applies.
STATUSES: Final[dict[type[DomainError], int]] = {
    wallets_errors.WalletNotFound: 404,
    wallets_errors.InvalidWalletName: 400,
    wallets_errors.MisleadingWalletName: 422,
    wallets_errors.WalletNameTaken: 403,
    wallets_errors.WalletNameLength: 422,
    wallets_errors.WalletNotControlled: 403,
    wallets_errors.NotAnImage: 422,
    wallets_errors.TooManyPixels: 422,
    wallets_errors.ImageTooLarge: 413,
    wallets_errors.ImageNotStored: 503,
    wallets_errors.InvalidPassword: 422,
    wallets_errors.InvalidCredentials: 401,
    wallets_errors.ApiKeyEnded: 401,
    wallets_errors.TokenNotFound: 404,
    wallets_errors.TokenNotVisible: 401,
    wallets_errors.ApiKeyTaken: 409,
    wallets_errors.InvalidApiKey: 422,
    wallets_errors.KeyInUse: 409,
    wallets_errors.AlreadyDone: 409,
    wallets_errors.AuditIsRunning: 409,
    wallets_errors.ChangedMeanwhile: 409,
    wallets_errors.NotPossible: 409,
    lockers_errors.LockerError: 422,
    lockers_errors.LockersOff: 503,
    lockers_errors.InvalidLockerRequest: 422,
    lockers_errors.MissingParameter: 400,
    lockers_errors.TaskNotFound: 404,
    lockers_errors.ReceiptNotFound: 404,
    lockers_errors.LockerNotFound: 404,
    lockers_errors.LockerNotFilled: 409,
    lockers_errors.NotEnoughCoins: 422,
    lockers_errors.NoExactChange: 422,
    lockers_errors.CoinsBusy: 409,
    lockers_errors.NothingToImport: 422,
    lockers_errors.ImportUnderWay: 409,
    lockers_errors.TooManyTasks: 429,
    lockers_errors.TooManyWaiting: 429,
    lockers_errors.TooManyWrongCodes: 429,
    lockers_errors.NothingToFind: 409,
    lockers_errors.NothingToFix: 409,
    lockers_errors.SameWallets: 422,
    lockers_errors.ReceiverNotTrusting: 403,
    lockers_errors.ExportNotFound: 404,
    lockers_errors.ExportConfirmed: 410,
    lockers_errors.ExportReturned: 409,
    lockers_errors.PeekFailed: 500,
    lockers_errors.UploadFailed: 500,
    lockers_errors.DownloadFailed: 500,
    trusts_errors.TrustAlreadyExists: 403,
    trusts_errors.TrustWithOneself: 422,
    trusts_errors.TrustWithinManagement: 409,
    trusts_errors.RequesterNotControlled: 403,
    trusts_errors.TrustNotAnswerable: 403,
    trusts_errors.TrustNotCancellable: 403,
    trusts_errors.TrustNotReadable: 403,
    trusts_errors.TrustNotFound: 404,
    trusts_errors.ManagementCircle: 403,
    trusts_errors.ConsentWithdrawn: 403,
    trusts_errors.OriginatorWithoutControl: 403,
    trusts_errors.EndedByOperator: 403,
    trusts_errors.TrustNotOpen: 409,
    trusts_errors.DismissalOfOneself: 422,
    transfers_errors.SameWallet: 422,
    transfers_errors.NeitherWalletControlled: 403,
    transfers_errors.InsufficientTokens: 403,
    transfers_errors.TokenElsewhere: 403,
    transfers_errors.TokenReserved: 403,
    transfers_errors.TransferNotFound: 404,
    transfers_errors.TransferNotVisible: 404,
    transfers_errors.TransferNotPending: 403,
    transfers_errors.TransferNotRequested: 403,
    transfers_errors.TransferNotOpen: 403,
    transfers_errors.NotYoursToDecide: 403,
    transfers_errors.TokensAlreadyNamed: 403,
    transfers_errors.TooFewTokens: 403,
    transfers_errors.TooManyTokens: 403,
    transfers_errors.ChosenTokenElsewhere: 403,
    transfers_errors.CaptureAlreadyIssued: 409,
    transfers_errors.RowInvalid: 422,
    transfers_errors.RowsRefused: 422,
    CapturesUnreadable: 422,
    transfers_errors.BatchTooLarge: 422,
    transfers_errors.BatchUncovered: 422,
}

# SQLSTATEs after which the same request may be retried: locks, timeouts, restarts. The classes 08 (connections) and 53
# (resources) are transient too.
_TRANSIENT: Final = {"55P03", "57014", "40P01", "40001", "25P03", "25006", "57P01", "57P02", "57P03"}
RETRY_AFTER_SECONDS: Final = "1"
# The database is read-only, such as a standby server. A failover takes a while.
_READ_ONLY: Final = "25006"
READ_ONLY_RETRY_AFTER_SECONDS: Final = "10"
CHALLENGE: Final = 'Bearer realm="coppice"'


# Error names for the log, by status, of refusals without a domain error.
_NAMES: Final = {
    400: "MalformedRequest",
    408: "RequestTimeout",
    413: "RequestTooLarge",
    415: "InvalidContentType",
    429: "TooManyAttempts",
    503: "ServiceBusy",
}


def refusal_name(status: int) -> str:
    """Return the error name that is logged for a refusal with this status and no domain error."""
    return _NAMES.get(status, "RequestRefused")


class RequestRefused(drf_errors.APIException):
    """A request that is refused before any domain rule applies. `name` is its error name in the log."""

    def __init__(
        self, status: int, message: str, headers: Mapping[str, str] | None = None, *, name: str | None = None
    ) -> None:
        super().__init__(message)
        self.status_code = status
        self.message = message
        self.headers = dict(headers or {})
        self.name = name or refusal_name(status)


class Invalid(RequestRefused):
    """
    Values of the path, the query or the body are invalid: 422.

    v1 names the first of the problems, v2 all of them.
    """

    def __init__(self, *problems: str) -> None:
        super().__init__(422, problems[0], name="Invalid")
        self.problems = problems


def status_of(error: DomainError) -> int | None:
    """
    Return the HTTP status of a domain error, or None for a class that is not in the table.

    Refused rows have their common status, if they have one.
    """
    if isinstance(error, transfers_errors.RowsRefused):
        statuses = {status_of(each) for each in error.problems.values()}
        return statuses.pop() if len(statuses) == 1 else STATUSES[transfers_errors.RowsRefused]
    return next((STATUSES[kind] for kind in type(error).__mro__ if kind in STATUSES), None)


def is_locker_path(path: str) -> bool:
    """
    Return whether a path, without the prefix of the public URL, belongs to the locker API.

    Locker paths have the locker error format, need no API key, and answer a missing bearer token with 401.
    """
    return path.startswith("/api/")


def body_of(path: str, status: int, message: str, extra: Mapping[str, Any] | None = None) -> dict[str, Any]:
    """
    Return the body of an error in the format of the path.

    Clients of seed 000 read only `status`; without it they would poll forever for a task that does not exist.
    """
    if is_locker_path(path):
        return {"status": "error", "error": True, "message": message, "code": status, **(extra or {})}
    return {"code": status, "message": message, **(extra or {})}


def answer(request: HttpRequest, status: int, message: str, headers: Mapping[str, str] | None = None) -> HttpResponse:
    """Return an error response outside of REST framework views."""
    return HttpResponse(
        orjson.dumps(body_of(request.path_info, status, message)),
        status=status,
        content_type="application/json",
        headers=dict(headers or {}),
    )


def exception_handler(error: Exception, context: Mapping[str, Any]) -> Response:
    """Turn an exception of a view into a response. Never raises; unexpected exceptions are not shown."""
    request = context["request"]
    extra: Mapping[str, Any] = {}
    headers: dict[str, str] = {}
    match error:
        case DomainError() if (known := status_of(error)) is not None:
            status, message = known, str(error)
            if v2.is_v2(request):
                status, message = v2.refusal(_action(context), error, status=status, message=message)
            extra = getattr(error, "extra", {})
            headers = dict(getattr(error, "headers", {}))
        case Invalid() if v2.is_v2(request):
            status, message = error.status_code, v2.invalid(_action(context), ";".join(error.problems))
        case RequestRefused():
            status, message, headers = error.status_code, error.message, error.headers
        case drf_errors.MethodNotAllowed():
            status, message = 405, f"Method {request.method} is not allowed"
        case drf_errors.UnsupportedMediaType():
            status, message = 415, "Invalid content type. API only supports application/json"
        case Http404() | drf_errors.NotFound():
            status, message = 404, f"Cannot {request.method} {request.path}"
        case drf_errors.NotAuthenticated() | drf_errors.AuthenticationFailed():
            refused = bearer_refused(request.path_info, is_v2=v2.is_v2(request))
            status, message, headers = refused.status_code, refused.message, refused.headers
        case django_errors.PermissionDenied() | drf_errors.PermissionDenied():
            status, message = 403, "Forbidden"
        case drf_errors.NotAcceptable():
            status, message = 406, "API only offers application/json"
        case drf_errors.Throttled():
            status, message = 429, "Too many requests"
            headers = {"Retry-After": RETRY_AFTER_SECONDS}
        case django_errors.RequestDataTooBig():
            status, message = 413, "Request entity too large"
        case django_errors.TooManyFilesSent():
            status, message = 413, f"At most {settings.DATA_UPLOAD_MAX_NUMBER_FILES} files at once"
        case drf_errors.ParseError() | django_errors.BadRequest() | django_errors.SuspiciousOperation():
            status, message = 400, "Malformed request"
        case DatabaseError() if is_transient(error):
            message, headers = _transient_response(error)
            status = 503
        case _:
            log.error("unexpected_error", exc_info=error, extra={"request_id": getattr(request, "request_id", None)})
            # For error reporters and the test client.
            got_request_exception.send(sender=exception_handler, request=request)
            status, message = 500, "Unknown error"
    django_request = getattr(request, "_request", request)
    # Read by `config.ops.logs`, `config.ops.access_log` and `config.ops.request_metrics`.
    django_request.was_refused_knowingly = True
    django_request.error_name = error.name if isinstance(error, RequestRefused) else type(error).__name__
    django_request.is_refusal_by_500 = isinstance(error, ServersDisagreed) and error.is_refusal
    return Response(body_of(request.path_info, status, message, extra), status=status, headers=headers)


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


def _transient_response(error: DatabaseError) -> tuple[str, dict[str, str]]:
    """Log a transient error of the database, and return the message and headers of its 503 response."""
    state = getattr(error.__cause__, "sqlstate", None)
    # Without a traceback: while PostgreSQL restarts, every request fails here.
    log.warning("database_is_busy", extra={"error": type(error).__name__, "sqlstate": state})
    if state == _READ_ONLY:
        return "Service is read-only for now, try again", {"Retry-After": READ_ONLY_RETRY_AFTER_SECONDS}
    return "Service busy, try again", {"Retry-After": RETRY_AFTER_SECONDS}


def bearer_refused(path: str, *, is_v2: bool = False, is_missing: bool = False) -> RequestRefused:
    """Return the error for a missing, unknown, expired or revoked bearer token: the same for all but a missing one."""
    status = 401 if is_locker_path(path) else v2.BEARER_REFUSED if is_v2 else 403
    message = v2.BEARER_MISSING if is_missing and is_v2 else "ERROR: Authentication, token not verified"
    return RequestRefused(status, message, {"WWW-Authenticate": CHALLENGE}, name="BearerRefused")


def _note(request: HttpRequest, error: BaseException) -> None:
    request.error_name = type(error).__name__  # type: ignore[attr-defined]


def bad_request(request: HttpRequest, exception: Exception) -> HttpResponse:
    _note(request, exception)
    if isinstance(exception, django_errors.RequestDataTooBig):
        return answer(request, 413, "Request entity too large")
    return answer(request, 400, "Malformed request")


def permission_denied(request: HttpRequest, exception: Exception) -> HttpResponse:
    _note(request, exception)
    if is_page(request.path_info):
        return defaults.permission_denied(request, exception)
    return answer(request, 403, "Forbidden")


def page_not_found(request: HttpRequest, exception: Exception) -> HttpResponse:
    _note(request, exception)
    if is_page(request.path_info):
        return defaults.page_not_found(request, exception)
    return answer(request, 404, f"Cannot {request.method} {request.path}")


def csrf_failure(request: HttpRequest, reason: str = "") -> HttpResponse:
    request.error_name = "CsrfFailure"  # type: ignore[attr-defined]
    return csrf.csrf_failure(request, reason)


def server_error(request: HttpRequest) -> HttpResponse:
    error = sys.exc_info()[1]
    if error is not None:
        _note(request, error)
    if isinstance(error, DatabaseError) and is_transient(error):
        message, headers = _transient_response(error)
        if not is_page(request.path_info):
            return answer(request, 503, message, headers)
        page = render_to_string("503.html", {"message": message, "seconds": headers["Retry-After"]})
        return HttpResponse(page, status=503, headers=headers)
    if is_page(request.path_info):
        return defaults.server_error(request)
    return answer(request, 500, "Unknown error")
