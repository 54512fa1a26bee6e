"""
What a call raises.

A call that changes something and raises anything but `OutcomeUnknown` has changed nothing.
"""

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, Final

if TYPE_CHECKING:
    from coppice_client.types import Task


class CoppiceError(Exception):
    """The base of all errors of this package."""


class ApiError(CoppiceError):
    """
    The server refused the request.

    `status` is the HTTP status and `message` the server's text. `code` is the name of the error (the header
    `Error-Code`), or None if the server sends none. `request_id` names the request in the server's log, and
    `retry_after` is a number of seconds, or None. `body` is the decoded body, or None if it is not JSON.
    """

    def __init__(
        self,
        status: int,
        message: str,
        *,
        code: str | None = None,
        request_id: str | None = None,
        retry_after: float | None = None,
        body: Mapping[str, Any] | None = None,
    ) -> None:
        super().__init__(status, message)
        self.status = status
        self.message = message
        self.code = code
        self.request_id = request_id
        self.retry_after = retry_after
        self.body = body

    def __str__(self) -> str:
        return f"{self.message} ({self.status}{'' if self.code is None else f' {self.code}'})"


class BadRequest(ApiError):
    """400, 405, 406, 413 or 415: the request is malformed, or too large."""


class InvalidRequest(ApiError):
    """422: a value is missing, unknown or out of its range; the message names it."""


class Unauthorized(ApiError):
    """The API key, the password or the bearer token is missing, wrong or no longer valid: log in again."""


class Forbidden(ApiError):
    """403: a rule forbids it."""


class NotFound(ApiError):
    """404 or 410: not there (any more), or not visible to the caller."""


class EventsExpired(NotFound):
    """
    410 `events_expired`: events after the last page that was read are no longer kept, so some were never read.

    Read the present state of wallets and transfers. `events` and `follow_events` begin again with the oldest event
    that is kept.
    """


class Conflict(ApiError):
    """409: the state of something forbids it."""


class RateLimited(ApiError):
    """429: too many requests. `retry_after` says when to try again."""


class ServerError(ApiError):
    """5xx: the server failed. Report the `request_id` to its operator."""


class Unavailable(CoppiceError):
    """The server could not be reached, or did not answer a request that changes nothing."""


class OutcomeUnknown(CoppiceError):
    """
    A request that changes something got no final answer: the change may have happened or not.

    Repeat the call with `idempotency_key`: it has one effect, whatever became of the earlier attempts.
    """

    def __init__(self, idempotency_key: str, reason: str) -> None:
        super().__init__(idempotency_key, reason)
        self.idempotency_key = idempotency_key
        self.reason = reason

    def __str__(self) -> str:
        return (
            f"{self.reason}. Whether the request took effect is unknown. "
            f"Repeat it with the idempotency key {self.idempotency_key}"
        )


class TaskFailed(CoppiceError):
    """A task ended with `error`. `task` is its last state; its `details` say what is known of the coins."""

    def __init__(self, task: "Task") -> None:
        super().__init__(task["message"])
        self.task = task


class TaskTimeout(CoppiceError):
    """A task did not end in time. It goes on; `task` is its last known state."""

    def __init__(self, task: "Task") -> None:
        super().__init__(f"Task {task['id']} is still running")
        self.task = task


class InvalidWebhook(CoppiceError):
    """A webhook has no valid signature, is too old, or is not a message at all. Answer it with 400."""


_BY_STATUS: Final[Mapping[int, type[ApiError]]] = {
    401: Unauthorized,
    403: Forbidden,
    404: NotFound,
    409: Conflict,
    410: NotFound,
    422: InvalidRequest,
    429: RateLimited,
}


_BY_CODE: Final[Mapping[str | None, type[ApiError]]] = {"events_expired": EventsExpired}


def class_of(status: int, *, code: str | None, is_challenge: bool) -> type[ApiError]:
    """Return the class of an error; `code` is its `Error-Code`, `is_challenge`: the answer has `WWW-Authenticate`."""
    if is_challenge:
        return Unauthorized
    if code in _BY_CODE:
        return _BY_CODE[code]
    return _BY_STATUS.get(status, ServerError if status >= 500 else BadRequest if status >= 400 else ApiError)
