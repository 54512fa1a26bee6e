"""
The table of errors: code, status, title, cause and cure of each.

Every error response names its code in the header `Error-Code`, and `/docs/errors` documents all of them from this
table. A code is one cause and never changes: clients compare it. Several codes share a status.

`config/api/errors.py` writes the responses, and `config/api/treetracker/v2.py` has the statuses that differ below
`/wallet/v2/`.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from enum import Enum
from typing import Final

from lockers import errors as lockers
from transfers import errors as transfers
from transfers.captures import CapturesUnreadable
from trusts import errors as trusts
from wallets import errors as wallets
from wallets.errors import DomainError


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


def _code(
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

MALFORMED_REQUEST: Final = _code(
    "malformed_request",
    400,
    "The request cannot be read",
    "The body ended early, is not the gzip or the form that its headers announce, or the request is no valid HTTP.",
    "Send the whole body, with the Content-Type, Content-Encoding and Content-Length that describe it.",
)
MALFORMED_JSON: Final = _code(
    "malformed_json",
    400,
    "The body is not JSON",
    "The body is not strict JSON in UTF-8: a syntax error, a duplicate key, a NUL character, a lone surrogate, NaN or"
    " Infinity, a number of more than 308 digits, or more than 64 levels.",
    "Correct the body at the position that the message names.",
)
HEADER_INVALID: Final = _code(
    "header_invalid",
    400,
    "A header is sent twice, or is not ASCII",
    "A header that may occur once, such as Authorization or Idempotency-Key, occurs twice or holds other characters"
    " than ASCII.",
    "Send the header that the message names once, in ASCII.",
)
HOST_NOT_SERVED: Final = _code(
    "host_not_served",
    400,
    "The host is not served here",
    "The host in the URL or in the Host header is not one of this installation.",
    "Use the public URL of the installation. Its operator adds further hosts with COPPICE_ALLOWED_HOSTS.",
)
HTTPS_REQUIRED: Final = _code(
    "https_required",
    403,
    "HTTPS is required",
    "A request other than GET and HEAD arrived over plain HTTP. It was not processed.",
    "Send it to the URL in the message. Replace credentials that were sent in clear.",
)
PATH_UNKNOWN: Final = _code(
    "path_unknown",
    404,
    "There is no such path",
    "No endpoint has this path.",
    "Compare the path with the API documentation.",
)
METHOD_NOT_ALLOWED: Final = _code(
    "method_not_allowed",
    405,
    "The path does not have this method",
    "The endpoint exists and does not offer the method of the request.",
    "Use one of the methods in the Allow header of the response.",
)
NOT_ACCEPTABLE: Final = _code(
    "not_acceptable",
    406,
    "The API only offers JSON",
    "The request asks for a representation other than application/json.",
    "Accept application/json, or leave out the Accept header.",
)
REQUEST_TIMEOUT: Final = _code(
    "request_timeout",
    408,
    "The request took too long to arrive",
    "The body did not arrive in time. The request was not processed.",
    "Send it again, with the same Idempotency-Key.",
)
BODY_TOO_LARGE: Final = _code(
    "body_too_large",
    413,
    "The body is too large",
    "The body, compressed or decompressed, is larger than the endpoint accepts.",
    "Send less in one request: divide a list or a batch into several.",
)
TOO_MANY_FILES: Final = _code(
    "too_many_files",
    413,
    "The form has too many files",
    "The form has more files than one request may have; the message says how many.",
    "Divide the files among several requests.",
)
CONTENT_TYPE_UNSUPPORTED: Final = _code(
    "content_type_unsupported",
    415,
    "The endpoint does not accept this content type",
    "The Content-Type header is missing or names a media type that the endpoint does not read.",
    "Send the content type that the message names.",
)
CONTENT_ENCODING_UNSUPPORTED: Final = _code(
    "content_encoding_unsupported",
    415,
    "The API only reads gzip",
    "The Content-Encoding header names another coding than gzip.",
    "Compress the body with gzip, or send it uncompressed without Content-Encoding.",
)
INVALID_VALUE: Final = _code(
    "invalid_value",
    422,
    "A value is invalid",
    "A value of the path, the query or the body is missing, unknown, of the wrong type or out of range.",
    "Correct the value that the message names. Nothing was changed.",
)
CURSOR_INVALID: Final = _code(
    "cursor_invalid",
    422,
    "The cursor is not valid",
    "The cursor was not issued by this installation, or belongs to another caller, endpoint, filter or order.",
    "Follow the Link header of the previous page unchanged, or start again without a cursor.",
)
IDEMPOTENCY_KEY_INVALID: Final = _code(
    "idempotency_key_invalid",
    422,
    "The Idempotency-Key is not valid",
    "The header is empty, longer than 255 characters, or holds other characters than visible ASCII.",
    "Send a key of 1 to 255 visible ASCII characters, such as a UUID.",
)
IDEMPOTENCY_KEY_REUSED: Final = _code(
    "idempotency_key_reused",
    422,
    "The Idempotency-Key was used for another request",
    "An earlier request of this wallet had the same key and another method, path, query or body.",
    "Use a new key for a new request. Send a repetition exactly as the first request.",
)
IDEMPOTENCY_ANSWER_UNREADABLE: Final = _code(
    "idempotency_answer_unreadable",
    409,
    "The stored response can no longer be read",
    "The response to the first request with this key was encrypted with a vault key that was removed since.",
    "Look up what became of the first request, by the list or the task that it concerns. Do not repeat it blindly.",
)
TOO_MANY_REQUESTS: Final = _code(
    "too_many_requests",
    429,
    "A limit of requests is exceeded",
    "The wallet or the API key has used its quota of the current minute; the RateLimit header names the quota.",
    "Wait for the seconds in the Retry-After header, and send fewer requests.",
)
FORBIDDEN: Final = _code(
    "forbidden",
    403,
    "The request is forbidden",
    "The server does not permit this request, whatever its credentials.",
    "Compare the request with the API documentation.",
)
INTERNAL_ERROR: Final = _code(
    "internal_error",
    500,
    "An unexpected error occurred",
    "A fault of the server. It is logged under the X-Request-Id of the response.",
    "Report the X-Request-Id to the operator. Repeat a request that changes something only with the same"
    " Idempotency-Key.",
)
SERVICE_BUSY: Final = _code(
    "service_busy",
    503,
    "The service is busy",
    "The server has too many requests at hand, or the database is restarting, locked or overloaded.",
    "Send the request again after the seconds in the Retry-After header, with the same Idempotency-Key.",
)
SERVICE_READ_ONLY: Final = _code(
    "service_read_only",
    503,
    "The service is read-only for now",
    "The database accepts no writes, for example while it fails over to another server. Reads are answered.",
    "Send the request again after the seconds in the Retry-After header, with the same Idempotency-Key.",
)

# --- credentials ------------------------------------------------------------------------------------

API_KEY_MISSING: Final = _code(
    "api_key_missing",
    401,
    "The API key is missing",
    "The request has no TREETRACKER-API-KEY header.",
    "Send the key of your application, which the operator issued.",
    where=Where.TREETRACKER,
)
API_KEY_INVALID: Final = _code(
    "api_key_invalid",
    401,
    "The API key is unknown",
    "No API key has the value of the TREETRACKER-API-KEY header.",
    "Compare the header with the key that the operator issued.",
    where=Where.TREETRACKER,
)
API_KEY_ENDED: Final = _code(
    "api_key_ended",
    401,
    "The API key was revoked or has expired",
    "The operator revoked the key, or its time is over.",
    "Ask the operator for a new key.",
    where=Where.TREETRACKER,
)
BEARER_TOKEN_MISSING: Final = _code(
    "bearer_token_missing",
    403,
    "The bearer token is missing",
    "The request has no Authorization header.",
    "Log in with POST /auth, and send the token as Authorization: Bearer ….",
    locker_status=401,
)
BEARER_TOKEN_INVALID: Final = _code(
    "bearer_token_invalid",
    403,
    "The bearer token is not valid",
    "The token is unknown, expired or revoked, or the Authorization header has another form than Bearer ….",
    "Log in again with POST /auth, and repeat the request with the new token.",
    locker_status=401,
)
BATCH_ACCESS_DENIED: Final = _code(
    "batch_access_denied",
    403,
    "The API key may not send batches",
    "The endpoint is reserved to API keys with access to batches.",
    "Ask the operator to allow batches for your key, or send single requests.",
    where=Where.TREETRACKER,
)
TOO_MANY_LOGIN_ATTEMPTS: Final = _code(
    "too_many_login_attempts",
    429,
    "Too many login attempts",
    "The wallet or the address has too many failed logins in the last minute, or too many passwords are being checked"
    " at once.",
    "Wait for the seconds in the Retry-After header. Keep a token until it expires instead of logging in per request.",
    where=Where.TREETRACKER,
)
IMAGE_UPLOAD_IN_PROGRESS: Final = _code(
    "image_upload_in_progress",
    429,
    "Another image of this wallet is being stored",
    "A wallet stores the images of one request at a time.",
    "Send the request again after the seconds in the Retry-After header.",
    where=Where.TREETRACKER,
)
IMAGE_UPLOADS_OF_KEY_IN_PROGRESS: Final = _code(
    "image_uploads_of_key_in_progress",
    429,
    "Other images with this API key are being stored",
    "Requests with images of other wallets, sent with the same API key, occupy the share of a key.",
    "Send the request again after the seconds in the Retry-After header.",
    where=Where.TREETRACKER,
)
LOCKER_CODE_REFUSED: Final = _code(
    "locker_code_refused",
    500,
    "The transmit code opens no locker",
    "At least 13 servers answered that no coins are under this code: it is wrong, or the locker was emptied. The"
    " servers do not report which.",
    "Compare the code. Do not repeat the request: wrong codes are counted, and refused beyond a limit.",
    where=Where.LOCKERS,
)
CSRF_FAILED: Final = _code(
    "csrf_failed",
    403,
    "The form has no valid CSRF token",
    "A form of a page was sent without the token of its session.",
    "Reload the page, and send the form again.",
    where=Where.OPERATORS,
)

_ALL: Final = Where.ALL
_TREETRACKER: Final = Where.TREETRACKER
_LOCKERS: Final = Where.LOCKERS
_OPERATORS: Final = Where.OPERATORS

# --- errors of the domain: the row of the most specific class applies -------------------------------

BY_CLASS: Final[Mapping[type[DomainError], ErrorCode]] = {
    wallets.WalletNotFound: _code(
        "wallet_not_found",
        404,
        "There is no such wallet",
        "No wallet has the name or the id in the request.",
        "Compare the spelling. The message says whether a name or an id was looked up.",
    ),
    wallets.InvalidWalletName: _code(
        "wallet_name_invalid",
        400,
        "The text can never name a wallet",
        "The name holds white space or control characters.",
        "Correct the name.",
    ),
    wallets.MisleadingWalletName: _code(
        "wallet_name_misleading",
        422,
        "The name looks like something else",
        "The name has the form of an id, or holds an invisible character and so looks like another name.",
        "Choose another name, without the character that the message names.",
    ),
    wallets.WalletNameTaken: _code(
        "wallet_name_taken",
        403,
        "Another wallet has this name",
        "A wallet has this name already, perhaps in other letters that count as the same.",
        "Choose another name. If an earlier request of yours may have created the wallet, look it up first.",
    ),
    wallets.WalletNameLength: _code(
        "wallet_name_length",
        422,
        "The name is too short or too long",
        "The name is shorter or longer than the message allows.",
        "Choose a name of a permitted length.",
    ),
    wallets.WalletNotControlled: _code(
        "wallet_not_controlled",
        403,
        "The caller does not control the wallet",
        "The wallet is neither the caller's own nor managed by it at this moment.",
        "Log in as the wallet, or ask it for a trust that lets you manage it.",
    ),
    wallets.InvalidCredentials: _code(
        "credentials_invalid",
        401,
        "Wallet and password do not match",
        "The password is wrong, or the wallet has none.",
        "Correct the password. Failed attempts are counted, and refused beyond a limit.",
        where=_TREETRACKER,
    ),
    wallets.ApiKeyEnded: API_KEY_ENDED,
    wallets.NotAnImage: _code(
        "image_invalid",
        422,
        "The file is not an image",
        "The uploaded file is no JPEG or PNG, or is damaged.",
        "Send a JPEG or PNG file.",
        where=_TREETRACKER,
    ),
    wallets.TooManyPixels: _code(
        "image_too_many_pixels",
        422,
        "The image has too many pixels",
        "Decoding the image would take too much memory; the message has the maximum.",
        "Scale the image down.",
        where=_TREETRACKER,
    ),
    wallets.ImageTooLarge: _code(
        "image_too_large",
        413,
        "The image file is too large",
        "The uploaded file has more bytes than an image may have.",
        "Compress the image, or scale it down.",
        where=_TREETRACKER,
    ),
    wallets.ImageNotStored: _code(
        "image_not_stored",
        503,
        "The image could not be stored",
        "The storage of images failed. Nothing was changed.",
        "Send the request again after the seconds in the Retry-After header.",
        where=_TREETRACKER,
    ),
    wallets.TokenNotFound: _code(
        "token_not_found",
        404,
        "There is no such token",
        "No token has the id in the request.",
        "Compare the id with GET /tokens.",
        where=_TREETRACKER,
    ),
    wallets.TokenNotVisible: _code(
        "token_not_visible",
        401,
        "The caller does not control the wallet of the token",
        "The caller controls no wallet that holds the token at this moment.",
        "Ask as the wallet that holds the token, or as its manager. The bearer token is valid: do not log in again.",
        where=_TREETRACKER,
    ),
    wallets.KeyInUse: _code(
        "idempotency_key_in_use",
        409,
        "The first request with this key is still running",
        "A request with the same Idempotency-Key is in flight, or has only just completed.",
        "Send the same request again after the seconds in the Retry-After header. It gets the response of the first, or"
        " is processed if the first was refused.",
    ),
    transfers.SameWallet: _code(
        "transfer_same_wallet",
        422,
        "Sender and receiver are the same wallet",
        "A transfer needs two wallets.",
        "Name another sender or receiver.",
        where=_TREETRACKER,
    ),
    transfers.NeitherWalletControlled: _code(
        "transfer_not_controlled",
        403,
        "The caller controls neither wallet",
        "The caller neither is nor manages the sender or the receiver.",
        "Send as one of the two wallets, or as the manager of one.",
        where=_TREETRACKER,
    ),
    transfers.InsufficientTokens: _code(
        "not_enough_tokens",
        403,
        "The sender has too few free tokens",
        "The wallet holds fewer tokens that no open transfer reserves than the transfer needs.",
        "Send fewer, or wait until an open transfer of the sender ends. tokens_available of the wallet has the number.",
        where=_TREETRACKER,
    ),
    transfers.TokenElsewhere: _code(
        "token_not_in_sender_wallet",
        403,
        "A listed token is not in the sender's wallet",
        "The token that the message names is in another wallet at this moment.",
        "List tokens of the sender: GET /tokens?wallet=….",
        where=_TREETRACKER,
    ),
    transfers.TokenReserved: _code(
        "token_reserved",
        403,
        "A listed token is reserved by another transfer",
        "An open transfer holds the token that the message names.",
        "Choose another token, or end that transfer first.",
        where=_TREETRACKER,
    ),
    transfers.TransferNotFound: _code(
        "transfer_not_found",
        404,
        "There is no such transfer",
        "No transfer has the id in the path.",
        "Compare the id with GET /transfers.",
        where=_TREETRACKER,
    ),
    transfers.TransferNotVisible: _code(
        "transfer_not_visible",
        404,
        "There is no such transfer that the caller may read",
        "No transfer has the id in the path, or the caller controls no party of it. The response is the same for both.",
        "Compare the id with GET /transfers.",
        where=_TREETRACKER,
    ),
    transfers.TransferNotPending: _code(
        "transfer_not_pending",
        403,
        "The transfer is not pending",
        "Only a pending transfer can be accepted; this one is in another state, perhaps by a request a moment ago.",
        "Read the transfer. If it is completed, it was accepted already; if it is requested, fulfil it instead.",
        where=_TREETRACKER,
    ),
    transfers.TransferNotRequested: _code(
        "transfer_not_requested",
        403,
        "The transfer is not requested",
        "Only a requested transfer can be fulfilled; this one is in another state.",
        "Read the transfer. If it is completed, it was fulfilled already; if it is pending, accept it instead.",
        where=_TREETRACKER,
    ),
    transfers.TransferNotOpen: _code(
        "transfer_not_open",
        403,
        "The transfer has ended",
        "Only a requested or pending transfer can be declined or deleted; this one has ended.",
        "Read the transfer. There is nothing left to end.",
        where=_TREETRACKER,
    ),
    transfers.NotYoursToDecide: _code(
        "transfer_not_yours_to_decide",
        403,
        "The caller may not do this to the transfer",
        "The party that was asked accepts, fulfils or declines a transfer, and the party that asked deletes it. The"
        " caller does not control that party.",
        "Act as that party, or as its manager.",
        where=_TREETRACKER,
    ),
    transfers.ReferenceTaken: _code(
        "transfer_reference_taken",
        409,
        "The reference belongs to another transfer",
        "The caller asked for a unique reference, and asked for another transfer with the same one before, whatever"
        " became of that.",
        "Look for that transfer with GET /transfers?reference=…. If it is another one, send another reference.",
        where=_TREETRACKER,
    ),
    transfers.ExpiryPassed: _code(
        "transfer_expiry_passed",
        422,
        "The transfer would expire before it is created",
        "The time in expires_at is not in the future by the clock of the service.",
        "Send a later time, with its time zone, or leave out expires_at.",
        where=_TREETRACKER,
    ),
    transfers.TokensAlreadyNamed: _code(
        "transfer_tokens_already_named",
        403,
        "The request named its tokens",
        "The transfer was requested with a list of tokens, and the fulfilment names tokens again.",
        "Fulfil it with implicit: true.",
        where=_TREETRACKER,
    ),
    transfers.TooFewTokens: _code(
        "transfer_too_few_tokens",
        403,
        "The fulfilment names too few tokens",
        "The transfer asks for more tokens than the fulfilment names.",
        "Name as many tokens as the message says.",
        where=_TREETRACKER,
    ),
    transfers.TooManyTokens: _code(
        "transfer_too_many_tokens",
        403,
        "The fulfilment names too many tokens",
        "The transfer asks for fewer tokens than the fulfilment names.",
        "Name as many tokens as the message says.",
        where=_TREETRACKER,
    ),
    transfers.ChosenTokenElsewhere: _code(
        "chosen_token_not_in_sender_wallet",
        403,
        "A chosen token is not in the sender's wallet",
        "A fulfilment names a token that the sender does not hold at this moment.",
        "List tokens of the sender: GET /tokens?wallet=….",
        where=_TREETRACKER,
    ),
    transfers.RowInvalid: _code(
        "batch_row_invalid",
        422,
        "A row of the batch is invalid",
        "A cell of the file has the wrong form, or a wallet occurs twice.",
        "Correct the line and column that the message and rows name. Nothing was changed.",
        where=_TREETRACKER,
    ),
    transfers.RowsRefused: _code(
        "batch_rows_refused",
        422,
        "Several rows of the batch are refused",
        "At least two rows are refused, and therefore the whole batch. The status is that of the rows, if all have the"
        " same. A single refused row is answered with its own code.",
        "Correct each line that rows names. Nothing was changed.",
        where=_TREETRACKER,
        also=(400, 403, 404),
    ),
    transfers.BatchTooLarge: _code(
        "batch_too_large",
        422,
        "The batch moves too many tokens",
        "All rows together move more tokens than one transaction may.",
        "Divide the batch.",
        where=_TREETRACKER,
    ),
    transfers.BatchUncovered: _code(
        "batch_not_enough_tokens",
        422,
        "The sender has too few free tokens for the batch",
        "All rows together need more free tokens than the sender has.",
        "Send fewer tokens, or divide the batch.",
        where=_TREETRACKER,
    ),
    trusts.TrustAlreadyExists: _code(
        "trust_already_exists",
        403,
        "The trust is requested or in force already",
        "The same trust is open already, or one of another type in the opposite direction that gives the same.",
        "Read the trust relationships of the wallet. A requested one waits for the answer of the other side.",
        where=_TREETRACKER,
    ),
    trusts.TrustWithOneself: _code(
        "trust_with_oneself",
        422,
        "Requester and requestee are the same wallet",
        "A trust needs two wallets.",
        "Name another wallet.",
        where=_TREETRACKER,
    ),
    trusts.TrustWithinManagement: _code(
        "trust_within_management",
        409,
        "The wallets are related by management already",
        "One of the two wallets manages the other, or a third one manages both: a trust would add nothing.",
        "Act as the manager.",
        where=_TREETRACKER,
    ),
    trusts.RequesterNotControlled: _code(
        "trust_requester_not_controlled",
        403,
        "The caller does not control the requester",
        "The request names a requester that the caller neither is nor manages.",
        "Request the trust as that wallet, or as its manager.",
        where=_TREETRACKER,
    ),
    trusts.TrustNotAnswerable: _code(
        "trust_not_answerable",
        403,
        "The caller cannot accept or decline the trust",
        "The caller does not control the wallet that was asked, or no trust has this id. The response is the same for"
        " both.",
        "Compare the id with GET /trust_relationships, and answer as the wallet that was asked.",
        where=_TREETRACKER,
    ),
    trusts.TrustNotCancellable: _code(
        "trust_not_cancellable",
        403,
        "The caller cannot delete the trust",
        "The caller controls neither side of the trust.",
        "Delete it as one of the two wallets, or as the manager of one.",
        where=_TREETRACKER,
    ),
    trusts.TrustNotReadable: _code(
        "trust_not_readable",
        403,
        "The caller may not read the trust",
        "The caller controls no party of the trust.",
        "Read it as one of its wallets.",
        where=_TREETRACKER,
    ),
    trusts.TrustNotFound: _code(
        "trust_not_found",
        404,
        "There is no such trust",
        "No trust relationship has the id in the path.",
        "Compare the id with GET /trust_relationships.",
        where=_TREETRACKER,
    ),
    trusts.ManagementCircle: _code(
        "trust_management_circle",
        403,
        "The wallets would manage each other",
        "If the trust were accepted, the two wallets would manage each other.",
        "End the opposite management first.",
        where=_TREETRACKER,
    ),
    trusts.ConsentWithdrawn: _code(
        "trust_consent_withdrawn",
        403,
        "The originator has withdrawn the trust",
        "The side that gave the power deleted the trust, so the other side cannot accept it again.",
        "Ask for a new request.",
        where=_TREETRACKER,
    ),
    trusts.OriginatorWithoutControl: _code(
        "trust_originator_without_control",
        403,
        "The originator no longer controls the requester",
        "The wallet that made the request in the name of the requester does not manage it any more.",
        "Ask for a new request.",
        where=_TREETRACKER,
    ),
    trusts.EndedByOperator: _code(
        "trust_ended_by_operator",
        403,
        "An operator has ended the trust",
        "An operator ended the trust, so it cannot be accepted again.",
        "Ask for a new request.",
        where=_TREETRACKER,
    ),
    trusts.DismissalOfOneself: _code(
        "dismissal_of_oneself",
        422,
        "A wallet cannot dismiss itself",
        "The field manager_wallet names the wallet itself.",
        "Name the manager.",
        where=_TREETRACKER,
    ),
    lockers.LockersOff: _code(
        "lockers_off",
        503,
        "Lockers are switched off",
        "No RAIDA servers are configured on this installation.",
        "Ask the operator whether the installation offers lockers.",
        where=_LOCKERS,
    ),
    lockers.InvalidLockerRequest: _code(
        "locker_request_invalid",
        422,
        "The request does not suit lockers",
        "A text cannot be a transmit code, a coin cannot be broken, or the request concerns more coins or files than"
        " one may.",
        "Correct what the message names.",
        where=_LOCKERS,
    ),
    lockers.MissingParameter: _code(
        "parameter_missing",
        400,
        "A required parameter is missing",
        "The synchronous calls require the parameter that the message names.",
        "Add the parameter.",
        where=_LOCKERS,
    ),
    lockers.TaskNotFound: _code(
        "task_not_found",
        404,
        "There is no such task",
        "No task of a wallet that the caller controls has this id.",
        "Compare the id with the response that began the task. Do not begin it again without looking at the coins.",
        where=_LOCKERS,
    ),
    lockers.ReceiptNotFound: _code(
        "receipt_not_found",
        404,
        "There is no such receipt",
        "No receipt of a wallet that the caller controls has this id, or its task is still running.",
        "Compare the id with the task or the transaction that names it, and wait until the task has ended.",
        where=_LOCKERS,
    ),
    lockers.LockerNotFound: _code(
        "locker_not_found",
        404,
        "There is no such locker",
        "No locker of a wallet that the caller controls has this id.",
        "Compare the id with GET /api/v1/lockers.",
        where=_LOCKERS,
    ),
    lockers.LockerNotFilled: _code(
        "locker_not_filled",
        409,
        "The locker is not known to hold coins",
        "The code of a locker is shown only while coins are in it; the message names its state.",
        "Wait until the put is completed. The code of an emptied locker is not shown.",
        where=_LOCKERS,
    ),
    lockers.NotEnoughCoins: _code(
        "not_enough_coins",
        422,
        "The wallet has too few free coins",
        "The free coins of the wallet are worth less than the amount.",
        "Ask for less, or wait until the tasks that hold coins of the wallet have ended.",
        where=_LOCKERS,
    ),
    lockers.NoExactChange: _code(
        "no_exact_change",
        422,
        "The coins cannot make the amount exactly",
        "The free coins are worth enough, and no set of them makes the amount.",
        "Take one of the amounts that the message names, or break a coin.",
        where=_LOCKERS,
    ),
    lockers.CoinsBusy: _code(
        "coins_busy",
        409,
        "Other tasks hold the coins",
        "Another task or request has reserved the coins that this one needs. Nothing was changed.",
        "Send the request again in a moment.",
        where=_LOCKERS,
    ),
    lockers.NothingToImport: _code(
        "nothing_to_import",
        422,
        "No coin could be imported",
        "No file holds a coin that can be imported; the body has the outcome of each file.",
        "Correct the files that the outcomes name.",
        where=_LOCKERS,
    ),
    lockers.ImportUnderWay: _code(
        "import_in_progress",
        409,
        "Another task of the wallet is importing the coins",
        "A task of the same wallet has claimed coins of these files.",
        "Wait for that task, then send the request again; Retry-After has the shortest time.",
        where=_LOCKERS,
    ),
    lockers.TooManyTasks: _code(
        "too_many_tasks",
        429,
        "The wallet has too many open tasks",
        "The caller has the maximum number of tasks that have not ended. No task was begun.",
        "Wait until some have ended; Retry-After has the shortest time.",
        where=_LOCKERS,
    ),
    lockers.TooManyWaiting: _code(
        "too_many_waiting_calls",
        429,
        "Too many calls of the wallet wait for a result",
        "The caller has the maximum number of synchronous calls that wait for the end of their tasks.",
        "Wait for one of them, or begin a task at /api/v1/ and poll it.",
        where=_LOCKERS,
    ),
    lockers.TooManyWrongCodes: _code(
        "too_many_wrong_codes",
        429,
        "Too many wrong transmit codes",
        "The wallet or the address has sent too many codes that open no locker.",
        "Wait for the seconds in the Retry-After header, and check codes before you send them.",
        where=_LOCKERS,
    ),
    lockers.NothingToFind: _code(
        "nothing_to_find",
        409,
        "No coin is in limbo",
        "Every coin of the wallet has a known state.",
        "There is nothing to do.",
        where=_LOCKERS,
    ),
    lockers.NothingToFix: _code(
        "nothing_to_fix",
        409,
        "No coin needs repair",
        "Every free coin of the wallet is accepted by all servers.",
        "There is nothing to do.",
        where=_LOCKERS,
    ),
    lockers.SameWallets: _code(
        "coins_same_wallet",
        422,
        "Source and destination are the same wallet",
        "Moving coins needs two wallets.",
        "Name another destination.",
        where=_LOCKERS,
    ),
    lockers.ReceiverNotTrusting: _code(
        "receiver_not_trusting",
        403,
        "The receiver has not agreed to receive",
        "No trust lets the source send coins to the destination.",
        "Ask for a trust, or put the coins into a locker and give its code to the receiver.",
        where=_LOCKERS,
    ),
    lockers.ExportNotFound: _code(
        "export_not_found",
        404,
        "There is no such export",
        "No export of a wallet that the caller controls has this id.",
        "Compare the id with the list of exports.",
        where=_LOCKERS,
    ),
    lockers.ExportConfirmed: _code(
        "export_confirmed",
        410,
        "The file is not served again",
        "The arrival of the file was confirmed.",
        "Use the copy that was confirmed.",
        where=_LOCKERS,
    ),
    lockers.ExportReturned: _code(
        "export_returned",
        409,
        "Coins of the file are here again",
        "Coins of the file were imported or recalled here, or are on the way, so the file is worth less than it says.",
        "Read the export, and look for the coins in the wallet.",
        where=_LOCKERS,
    ),
    lockers.PeekFailed: _code(
        "locker_peek_failed",
        500,
        "Too few servers list the same coins",
        "Fewer than 13 of 25 servers listed the same coins: a network failure, or servers that are down or disagree.",
        "Try again later. raida_success and detail in the body say how many answered, and what most of them said.",
        where=_LOCKERS,
    ),
    lockers.UploadFailed: _code(
        "locker_upload_failed",
        500,
        "No coin is known to be stored in the locker",
        "The task of the upload ended with an error; task_message in the body says why.",
        "Read the task that task_id names: it reports where the coins are. Then send a new request.",
        where=_LOCKERS,
    ),
    lockers.UploadUnknown: _code(
        "locker_upload_unknown",
        500,
        "The result of the upload is not known yet",
        "Some servers did not answer, so coins may or may not be in the locker.",
        "Do not repeat the upload. Poll the task that task_id names until every coin has a known state.",
        where=_LOCKERS,
    ),
    lockers.DownloadFailed: _code(
        "locker_download_failed",
        500,
        "No coin is known to be taken from the locker",
        "The task of the download ended with an error; task_message in the body says why.",
        "Read the task that task_id names: it reports where the coins are. Then try again.",
        where=_LOCKERS,
    ),
    # --- of operators' actions and commands
    wallets.InvalidPassword: _code(
        "password_invalid",
        422,
        "The password cannot be used to log in",
        "The password is empty or too long, or holds a NUL character.",
        "Choose another password.",
        where=_OPERATORS,
    ),
    wallets.ApiKeyTaken: _code(
        "api_key_taken",
        409,
        "The API key is registered already",
        "An API key has this value.",
        "Choose another value, or let the system create one.",
        where=_OPERATORS,
    ),
    wallets.InvalidApiKey: _code(
        "api_key_unfit",
        422,
        "The text cannot be an API key",
        "It is too short to be a secret, or cannot be sent in a header.",
        "Choose another value, or let the system create one.",
        where=_OPERATORS,
    ),
    wallets.AlreadyDone: _code(
        "already_done",
        409,
        "The action was done already",
        "The confirmation was sent twice, and has had its effect.",
        "Look at the object: there is nothing left to do.",
        where=_OPERATORS,
    ),
    wallets.AuditIsRunning: _code(
        "audit_running",
        409,
        "Another audit is running",
        "One audit runs at a time.",
        "Wait until it has ended.",
        where=_OPERATORS,
    ),
    wallets.ChangedMeanwhile: _code(
        "changed_meanwhile",
        409,
        "The object has changed",
        "The object changed after the confirmation page was rendered. Nothing was done.",
        "Read the new state, and confirm again.",
        where=_OPERATORS,
    ),
    wallets.NotPossible: _code(
        "not_possible",
        409,
        "The state of the object does not allow the action",
        "The message says which state forbids it. Nothing was done.",
        "Read the object.",
        where=_OPERATORS,
    ),
    trusts.TrustNotOpen: _code(
        "trust_not_open",
        409,
        "The trust has ended",
        "An operator can end a requested or trusted relationship only.",
        "There is nothing left to end.",
        where=_OPERATORS,
    ),
    transfers.CaptureAlreadyIssued: _code(
        "capture_already_issued",
        409,
        "A capture has a token already",
        "A capture in the file was issued as a token before, or is listed twice.",
        "Remove it from the file.",
        where=_OPERATORS,
    ),
    CapturesUnreadable: _code(
        "captures_unreadable",
        422,
        "The file has no capture ids",
        "The file is no table of capture ids, or a line has none.",
        "Correct the line that the message names.",
        where=_OPERATORS,
    ),
}
