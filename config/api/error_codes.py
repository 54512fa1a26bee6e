"""
The table of errors: code, status, title, cause and cure of each.

Every error response names its code in the header `Error-Code`, and `/docs/errors` documents all of them from this
table. A code is one cause and never changes: clients compare it. Several codes share a status.

Here are the codes of requests that no domain rule has seen yet. `config/api/domain_error_codes.py` has those of the
domain.

`config/api/errors.py` writes the responses, and `config/api/treetracker/v2.py` has the statuses that differ below
`/wallet/v2/`.
"""

from dataclasses import dataclass
from enum import Enum
from typing import Final


class Where(Enum):
    """Which paths answer with a code."""

    ALL = "all paths"
    TREETRACKER = "the Treetracker API"
    LOCKERS = "the locker API"
    # No response of the API: operators read the message on a page of the admin, or in the output of a command.
    OPERATORS = "the admin and commands"


@dataclass(frozen=True, slots=True)
class ErrorCode:
    """One row of the table. `title`, `cause` and `cure` are sentences for the developer of a client."""

    name: str
    status: int
    title: str
    cause: str
    cure: str
    where: Where
    # The status on locker paths, if it is another one.
    locker_status: int = 0
    # Further statuses, of an error that stands for several.
    also: tuple[int, ...] = ()


# By name, in the order of the documentation.
CODES: Final[dict[str, ErrorCode]] = {}


def code(
    name: str,
    status: int,
    title: str,
    cause: str,
    cure: str,
    *,
    where: Where = Where.ALL,
    locker_status: int = 0,
    also: tuple[int, ...] = (),
) -> ErrorCode:
    assert name not in CODES, name
    CODES[name] = ErrorCode(name, status, title, cause, cure, where, locker_status, also)
    return CODES[name]


# --- errors of requests that no domain rule has seen yet ------------------------------------------

MALFORMED_REQUEST: Final = code(
    "malformed_request",
    400,
    "The request cannot be read",
    "The body ended early, is not the gzip or the form that its headers announce, or the request is no valid HTTP.",
    "Send the whole body, with the Content-Type, Content-Encoding and Content-Length that describe it.",
)
MALFORMED_JSON: Final = code(
    "malformed_json",
    400,
    "The body is not JSON",
    "The body is not strict JSON in UTF-8: a syntax error, a duplicate key, a NUL character, a lone surrogate, NaN or"
    " Infinity, a number of more than 308 digits, or more than 64 levels.",
    "Correct the body at the position that the message names.",
)
HEADER_INVALID: Final = code(
    "header_invalid",
    400,
    "A header is sent twice, or is not ASCII",
    "A header that may occur once, such as Authorization or Idempotency-Key, occurs twice or holds other characters"
    " than ASCII.",
    "Send the header that the message names once, in ASCII.",
)
HOST_NOT_SERVED: Final = code(
    "host_not_served",
    400,
    "The host is not served here",
    "The host in the URL or in the Host header is not one of this installation.",
    "Use the public URL of the installation. Its operator adds further hosts with COPPICE_ALLOWED_HOSTS.",
)
HTTPS_REQUIRED: Final = code(
    "https_required",
    403,
    "HTTPS is required",
    "A request other than GET and HEAD arrived over plain HTTP. It was not processed.",
    "Send it to the URL in the message. Replace credentials that were sent in clear.",
)
PATH_UNKNOWN: Final = code(
    "path_unknown",
    404,
    "There is no such path",
    "No endpoint has this path.",
    "Compare the path with the API documentation.",
)
METHOD_NOT_ALLOWED: Final = code(
    "method_not_allowed",
    405,
    "The path does not have this method",
    "The endpoint exists and does not offer the method of the request.",
    "Use one of the methods in the Allow header of the response.",
)
NOT_ACCEPTABLE: Final = code(
    "not_acceptable",
    406,
    "The API only offers JSON",
    "The request asks for a representation other than application/json.",
    "Accept application/json, or leave out the Accept header.",
)
REQUEST_TIMEOUT: Final = code(
    "request_timeout",
    408,
    "The request took too long to arrive",
    "The body did not arrive in time. The request was not processed.",
    "Send it again, with the same Idempotency-Key.",
)
BODY_TOO_LARGE: Final = code(
    "body_too_large",
    413,
    "The body is too large",
    "The body, compressed or decompressed, is larger than the endpoint accepts.",
    "Send less in one request: divide a list or a batch into several.",
)
TOO_MANY_FILES: Final = code(
    "too_many_files",
    413,
    "The form has too many files",
    "The form has more files than one request may have; the message says how many.",
    "Divide the files among several requests.",
)
CONTENT_TYPE_UNSUPPORTED: Final = code(
    "content_type_unsupported",
    415,
    "The endpoint does not accept this content type",
    "The Content-Type header is missing or names a media type that the endpoint does not read.",
    "Send the content type that the message names.",
)
CONTENT_ENCODING_UNSUPPORTED: Final = code(
    "content_encoding_unsupported",
    415,
    "The API only reads gzip",
    "The Content-Encoding header names another coding than gzip.",
    "Compress the body with gzip, or send it uncompressed without Content-Encoding.",
)
INVALID_VALUE: Final = code(
    "invalid_value",
    422,
    "A value is invalid",
    "A value of the path, the query or the body is missing, unknown, of the wrong type or out of range.",
    "Correct the value that the message names. Nothing was changed.",
)
CURSOR_INVALID: Final = code(
    "cursor_invalid",
    422,
    "The cursor is not valid",
    "The cursor was not issued by this installation, or belongs to another caller, endpoint, filter or order.",
    "Follow the Link header of the previous page unchanged, or start again without a cursor.",
)
IDEMPOTENCY_KEY_INVALID: Final = code(
    "idempotency_key_invalid",
    422,
    "The Idempotency-Key is not valid",
    "The header is empty, longer than 255 characters, or holds other characters than visible ASCII.",
    "Send a key of 1 to 255 visible ASCII characters, such as a UUID.",
)
IDEMPOTENCY_KEY_REUSED: Final = code(
    "idempotency_key_reused",
    422,
    "The Idempotency-Key was used for another request",
    "An earlier request of this wallet had the same key and another method, path, query or body.",
    "Use a new key for a new request. Send a repetition exactly as the first request.",
)
IDEMPOTENCY_ANSWER_UNREADABLE: Final = code(
    "idempotency_answer_unreadable",
    409,
    "The stored response can no longer be read",
    "The response to the first request with this key was encrypted with a vault key that was removed since.",
    "Look up what became of the first request, by the list or the task that it concerns. Do not repeat it blindly.",
)
TOO_MANY_REQUESTS: Final = code(
    "too_many_requests",
    429,
    "A limit of requests is exceeded",
    "The wallet or the API key has used its quota of the current minute; the RateLimit header names the quota.",
    "Wait for the seconds in the Retry-After header, and send fewer requests.",
)
FORBIDDEN: Final = code(
    "forbidden",
    403,
    "The request is forbidden",
    "The server does not permit this request, whatever its credentials.",
    "Compare the request with the API documentation.",
)
INTERNAL_ERROR: Final = code(
    "internal_error",
    500,
    "An unexpected error occurred",
    "A fault of the server. It is logged under the X-Request-Id of the response.",
    "Report the X-Request-Id to the operator. Repeat a request that changes something only with the same"
    " Idempotency-Key.",
)
SERVICE_BUSY: Final = code(
    "service_busy",
    503,
    "The service is busy",
    "The server has too many requests at hand, or the database is restarting, locked or overloaded.",
    "Send the request again after the seconds in the Retry-After header, with the same Idempotency-Key.",
)
SERVICE_READ_ONLY: Final = code(
    "service_read_only",
    503,
    "The service is read-only for now",
    "The database accepts no writes, for example while it fails over to another server. Reads are answered.",
    "Send the request again after the seconds in the Retry-After header, with the same Idempotency-Key.",
)

# --- credentials ------------------------------------------------------------------------------------

API_KEY_MISSING: Final = code(
    "api_key_missing",
    401,
    "The API key is missing",
    "The request has no TREETRACKER-API-KEY header.",
    "Send the key of your application, which the operator issued.",
    where=Where.TREETRACKER,
)
API_KEY_INVALID: Final = code(
    "api_key_invalid",
    401,
    "The API key is unknown",
    "No API key has the value of the TREETRACKER-API-KEY header.",
    "Compare the header with the key that the operator issued.",
    where=Where.TREETRACKER,
)
API_KEY_ENDED: Final = code(
    "api_key_ended",
    401,
    "The API key was revoked or has expired",
    "The operator revoked the key, or its time is over.",
    "Ask the operator for a new key.",
    where=Where.TREETRACKER,
)
BEARER_TOKEN_MISSING: Final = code(
    "bearer_token_missing",
    403,
    "The bearer token is missing",
    "The request has no Authorization header.",
    "Log in with POST /auth, and send the token as Authorization: Bearer ….",
    locker_status=401,
)
BEARER_TOKEN_INVALID: Final = code(
    "bearer_token_invalid",
    403,
    "The bearer token is not valid",
    "The token is unknown, expired or revoked, or the Authorization header has another form than Bearer ….",
    "Log in again with POST /auth, and repeat the request with the new token.",
    locker_status=401,
)
KEY_SCOPE_MISSING: Final = code(
    "key_scope_missing",
    403,
    "The restricted key has no scope for the operation",
    "The request has a restricted key in place of a bearer token, and the key has none of the scopes that allow the"
    " operation; or no scope does.",
    "Use a key with the scope that the message names, or log in.",
)
BATCH_ACCESS_DENIED: Final = code(
    "batch_access_denied",
    403,
    "The API key may not send batches",
    "The endpoint is reserved to API keys with access to batches.",
    "Ask the operator to allow batches for your key, or send single requests.",
    where=Where.TREETRACKER,
)
TOO_MANY_WRONG_CLAIM_CODES: Final = code(
    "too_many_wrong_claim_codes",
    429,
    "Too many wrong codes of claim links",
    "The address has sent too many codes that no claim link has, or too many wrong e-mail addresses for one link were"
    " sent.",
    "Wait for the seconds in the Retry-After header, and send the whole code of a link.",
    where=Where.TREETRACKER,
)
TOO_MANY_LOGIN_ATTEMPTS: Final = code(
    "too_many_login_attempts",
    429,
    "Too many login attempts",
    "The wallet or the address has too many failed logins in the last minute, or too many passwords are being checked"
    " at once.",
    "Wait for the seconds in the Retry-After header. Keep a token until it expires instead of logging in per request.",
    where=Where.TREETRACKER,
)
IMAGE_UPLOAD_IN_PROGRESS: Final = code(
    "image_upload_in_progress",
    429,
    "Another image of this wallet is being stored",
    "A wallet stores the images of one request at a time.",
    "Send the request again after the seconds in the Retry-After header.",
    where=Where.TREETRACKER,
)
IMAGE_UPLOADS_OF_KEY_IN_PROGRESS: Final = code(
    "image_uploads_of_key_in_progress",
    429,
    "Other images with this API key are being stored",
    "Requests with images of other wallets, sent with the same API key, occupy the share of a key.",
    "Send the request again after the seconds in the Retry-After header.",
    where=Where.TREETRACKER,
)
EXPORT_IN_PROGRESS: Final = code(
    "export_in_progress",
    429,
    "Another export is being sent",
    "A wallet gets one export at a time, and the exports of other wallets may occupy the server's share for them.",
    "Send the request again after the seconds in the Retry-After header.",
    where=Where.TREETRACKER,
)
LOCKER_CODE_REFUSED: Final = code(
    "locker_code_refused",
    500,
    "The transmit code opens no locker",
    "At least 13 servers answered that no coins are under this code: it is wrong, or the locker was emptied. The"
    " servers do not report which.",
    "Compare the code. Do not repeat the request: wrong codes are counted, and refused beyond a limit.",
    where=Where.LOCKERS,
)
CSRF_FAILED: Final = code(
    "csrf_failed",
    403,
    "The form has no valid CSRF token",
    "A form of a page was sent without the token of its session.",
    "Reload the page, and send the form again.",
    where=Where.OPERATORS,
)
