"""
Requests as data, and what happens around them, without I/O.

An action is a generator that yields what it needs: an `Exchange` (send this request and return the response) or a
`Pause`. `coppice_client.client` has the two loops that perform them, one with blocking sockets and one with asyncio.
So retries, pages, waiting for tasks and following events are written once.
"""

import random
import re
import time
import uuid
from collections.abc import Callable, Generator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from typing import Any, Final, Generic, Protocol, TypeAlias, TypeVar
from urllib.parse import parse_qsl, urlsplit

import httpx2

from coppice_client import errors
from coppice_client.types import Event, Task

T = TypeVar("T")
T_co = TypeVar("T_co", covariant=True)

# A part of a multipart form: its field, the name of the file and the content.
File: TypeAlias = tuple[str, tuple[str, bytes]]


@dataclass(frozen=True)
class Exchange:
    """One HTTP request. Its body may hold secrets, so its representation does not show it."""

    method: str
    path: str
    query: Mapping[str, str] = field(default_factory=dict)
    json: Any = field(default=None, repr=False)
    form: Mapping[str, str] | None = field(default=None, repr=False)
    files: Sequence[File] = field(default=(), repr=False)
    key: str | None = None

    def arguments(self) -> dict[str, Any]:
        """Return the arguments of `httpx2.Client.request`."""
        arguments: dict[str, Any] = {"method": self.method, "url": self.path.lstrip("/")}
        if self.query:
            arguments["params"] = dict(self.query)
        if self.files:
            arguments |= {"data": dict(self.form or {}), "files": list(self.files)}
        elif self.json is not None:
            arguments["json"] = self.json
        if self.key is not None:
            arguments["headers"] = {"Idempotency-Key": self.key}
        return arguments


@dataclass(frozen=True)
class Pause:
    """Wait for a number of seconds."""

    seconds: float


Steps: TypeAlias = Generator[Exchange | Pause, Any, T]


class Action(Protocol[T_co]):
    """Something that a client can run: a request, or a sequence of them."""

    def steps(self, retries: "Retries") -> Generator[Exchange | Pause, Any, T_co]: ...


class Reader(Protocol[T_co]):
    """A list that is read in pieces."""

    def more(self, retries: "Retries") -> Generator[Exchange | Pause, Any, Sequence[T_co] | None]:
        """Return the next piece, which may be empty, or None after the last."""


@dataclass(frozen=True)
class Retries:
    """
    How often a request is repeated, and after how many seconds.

    `pauses` has one entry for each repetition; a random part of up to a quarter is added. A longer `Retry-After` of
    the server is obeyed up to `longest` seconds; beyond that the call raises at once.
    """

    pauses: Sequence[float] = (0.2, 0.5, 1, 2, 5, 10)
    longest: float = 60


_KEY: Final = re.compile(r"[\x21-\x7e]{1,255}")


def idempotency_key(given: str | None) -> str:
    """
    Return the caller's key, or a new one.

    :raises ValueError: it is not 1 to 255 visible ASCII characters
    """
    if given is None:
        return str(uuid.uuid4())
    if not _KEY.fullmatch(given):
        raise ValueError("An idempotency key is 1 to 255 visible ASCII characters")
    return given


def from_json(response: httpx2.Response) -> Any:
    """
    Return the body of an answer, which is an object.

    :raises ValueError: something else than the server answered
    """
    body = response.json()
    if not isinstance(body, dict):
        raise ValueError("The body is no object")
    return body


@dataclass(frozen=True)
class Call(Generic[T]):
    """
    A request and how its answer is read. All attempts are the same `Exchange`, with the same idempotency key.

    A request without a key changes nothing, or nothing that a repetition would do twice.
    """

    exchange: Exchange
    read: Callable[[httpx2.Response], T] = from_json

    def steps(self, retries: Retries) -> Steps[T]:
        key = self.exchange.key
        # Whether an attempt without an answer may have taken effect.
        is_doubtful = False
        failure: Exception = RuntimeError()
        for planned in (*retries.pauses, None):
            pause = None if planned is None else planned * random.uniform(1, 1.25)  # noqa: S311 - not a secret
            try:
                response: httpx2.Response = yield self.exchange
                if response.is_success:
                    return self.read(response)
                failure = refusal(response)
            except (httpx2.UnsupportedProtocol, httpx2.LocalProtocolError) as error:
                # Raised before anything is sent. The text of the error may hold a header, and with it a secret.
                raise errors.CoppiceError(f"The request cannot be sent: {type(error).__name__}") from None
            except httpx2.RequestError as error:
                failure = error
                is_doubtful |= not isinstance(error, _NEVER_SENT)
            except (ValueError, KeyError) as error:
                # A success with another body: something else than the server answered.
                failure = error
                is_doubtful = True
            if isinstance(failure, errors.ApiError):
                is_doubtful |= failure.status >= 500 and not _is_refusal(failure)
                if not _is_temporary(failure):
                    break
                if failure.retry_after is not None and pause is not None:
                    pause = max(pause, failure.retry_after) if failure.retry_after <= retries.longest else None
            if pause is None:
                break
            yield Pause(pause)
        raise _conclusion(failure, key, is_doubtful=is_doubtful) from failure


_NEVER_SENT: Final = (httpx2.ConnectError, httpx2.ConnectTimeout, httpx2.PoolTimeout, httpx2.ProxyError)


def _is_refusal(refused: errors.ApiError) -> bool:
    """Return whether a 503 is the server's final word: it names no time for another attempt."""
    return refused.status == 503 and _is_from_server(refused) and refused.retry_after is None


def _is_from_server(refused: errors.ApiError) -> bool:
    """Return whether the body is an error of the server (or RFC 9457), not of a proxy."""
    body = refused.body or {}
    return refused.status in {body.get("code"), body.get("status")}


def _is_temporary(refused: errors.ApiError) -> bool:
    if refused.status == 409:
        return refused.retry_after is not None
    # 502 and 504 are a proxy's words for a server that did not answer.
    return refused.status in {429, 502, 503, 504} and not _is_refusal(refused)


def _conclusion(failure: Exception, key: str | None, *, is_doubtful: bool) -> Exception:
    """Return what a call raises that had no success: `failure` ended its last attempt."""
    if isinstance(failure, errors.ApiError):
        reason = str(failure)
        # A refusal by a rule comes after the look at the key, so it also tells that no earlier attempt had an effect.
        # One that comes before it tells nothing of them, and that of a proxy neither.
        precedes_key = failure.status in {408, 429} or isinstance(failure, errors.Unauthorized)
        is_rule = 400 <= failure.status < 500 and _is_from_server(failure) and not precedes_key
        is_settled = is_rule and not _is_temporary(failure)
        if key is None or is_settled or not (is_doubtful or failure.status == 409):
            return failure
    else:
        reason = _reason(failure)
        if key is None or not is_doubtful:
            return errors.Unavailable(reason)
    return errors.OutcomeUnknown(key, reason)


def _reason(failure: Exception) -> str:
    if isinstance(failure, httpx2.TimeoutException):
        return "The server did not answer in time"
    if isinstance(failure, _NEVER_SENT):
        return "The server cannot be reached"
    if isinstance(failure, httpx2.RequestError):
        return "The connection broke before the answer"
    return "The answer is not readable"


def refusal(response: httpx2.Response) -> errors.ApiError:
    """Return the error of a response that is no success."""
    try:
        body = response.json()
    except ValueError:
        body = None
    if not isinstance(body, dict):
        body = None
    status = response.status_code
    # RFC 9457 calls it `detail`.
    message = next((str(body[name]) for name in ("message", "detail", "title") if body and body.get(name)), "")
    if response.has_redirect_location:
        message = f"The server is at another address: {response.headers['Location'].partition('?')[0]}"
    code = response.headers.get("Error-Code")
    return errors.class_of(status, code=code, is_challenge="WWW-Authenticate" in response.headers)(
        status,
        message or response.reason_phrase or "No message",
        code=code,
        request_id=response.headers.get("X-Request-Id"),
        retry_after=_retry_after(response.headers.get("Retry-After")),
        body=body,
    )


def _retry_after(text: str | None) -> float | None:
    """Return the seconds of a `Retry-After`, which is a number or a date, or None."""
    if text is None:
        return None
    if text.isascii() and text.isdigit():
        return float(text)
    try:
        moment = parsedate_to_datetime(text)
    except ValueError:
        return None
    return max(0.0, (moment.astimezone(UTC) - datetime.now(UTC)).total_seconds())


@dataclass(frozen=True)
class Page(Generic[T]):
    """A part of a list, and the queries of the next one and of the rows that will come after the last, or None."""

    items: Sequence[T]
    next: Mapping[str, str] | None
    later: Mapping[str, str] | None = None


def page_call(path: str, name: str, query: Mapping[str, str]) -> Call[Page[Any]]:
    def read(response: httpx2.Response) -> Page[Any]:
        following, later = _linked_query(response, "next"), _linked_query(response, "monitor")
        if following == query:
            raise ValueError("The page names itself as the next one")
        return Page(from_json(response)[name], following, later)

    return Call(Exchange("GET", path, query), read)


def _linked_query(response: httpx2.Response, relation: str) -> dict[str, str] | None:
    url = response.links.get(relation, {}).get("url")
    # Of the link only the query is used: credentials go to no other address than the client's.
    return None if url is None else dict(parse_qsl(urlsplit(url).query))


class Listing(Generic[T]):
    """All rows of a list, by its cursors."""

    def __init__(self, path: str, name: str, /, **query: object) -> None:
        self._path = path
        self._name = name
        self._query: Mapping[str, str] | None = as_query(query)

    def more(self, retries: Retries) -> Steps[Sequence[T] | None]:
        if self._query is None:
            return None
        page: Page[T] = yield from page_call(self._path, self._name, self._query).steps(retries)
        self._query = page.next
        return page.items


def as_query(values: Mapping[str, object]) -> dict[str, str]:
    """Return query parameters: what is None is left out, and times are written in ISO 8601."""
    return {name: _as_text(value) for name, value in values.items() if value is not None}


def _as_text(value: object) -> str:
    return time_text(value) if isinstance(value, datetime) else str(value)


def time_text(moment: datetime, *, timespec: str = "milliseconds") -> str:
    """
    Return a time in ISO 8601 with milliseconds, or as `datetime.isoformat` writes it with this `timespec`.

    :raises ValueError: it has no time zone
    """
    if moment.tzinfo is None:
        raise ValueError("A time needs a time zone")
    return moment.astimezone(UTC).isoformat(timespec=timespec).replace("+00:00", "Z")


class Following:
    """
    Events as they happen, without end: the oldest first, each once.

    The last page of the feed links to the events that come after it, which are requested every `interval` seconds.
    A server that cannot be reached is asked again after `interval` seconds; `on_trouble` is called with the error.
    """

    def __init__(
        self,
        *,
        wallet: str | None,
        since: datetime | None,
        page_size: int,
        interval: float,
        on_trouble: Callable[[errors.CoppiceError], object] | None,
    ) -> None:
        self._wallet = wallet
        self._page_size = page_size
        self._query: Mapping[str, str] | None = None if since is None else self._first(since)
        self._interval = interval
        self._on_trouble = on_trouble
        self._pause = 0.0

    def _first(self, since: datetime) -> dict[str, str]:
        return as_query({"limit": self._page_size, "wallet": self._wallet, "since": since})

    def more(self, retries: Retries) -> Steps[Sequence[Event] | None]:
        if self._pause:
            yield Pause(self._pause)
        try:
            if self._query is None:
                # From now on, by the clock of the server.
                now = yield from Call(Exchange("GET", "/events", {"limit": "1"}), _time_of).steps(retries)
                self._query = self._first(now)
            page: Page[Event] = yield from page_call("/events", "events", self._query).steps(retries)
        except (errors.Unavailable, errors.RateLimited, errors.ServerError) as error:
            if self._on_trouble is not None:
                self._on_trouble(error)
            self._pause = max(self._interval, getattr(error, "retry_after", None) or 0.0)
            return []
        self._pause = self._interval if page.next is None else 0.0
        self._query = page.next or page.later
        if self._query is None:
            raise errors.CoppiceError("The server does not say where later events are")
        return page.items


def _time_of(response: httpx2.Response) -> datetime:
    return parsedate_to_datetime(response.headers["Date"])


@dataclass(frozen=True)
class Waiting:
    """
    Ask for a task until it has ended.

    `on_progress` is called with each state of it. Without `seconds` it waits for ever; `clock` counts seconds.
    """

    task_id: str
    task: Call[Task]
    on_progress: Callable[[Task], object] | None = None
    seconds: float | None = None
    clock: Callable[[], float] = time.monotonic

    def steps(self, retries: Retries) -> Steps[Task]:
        began = self.clock()
        pause = 0.1
        while True:
            task = yield from self.task.steps(retries)
            if self.on_progress is not None:
                self.on_progress(task)
            if task["status"] == "error":
                raise errors.TaskFailed(task)
            if task["status"] != "running":
                return task
            if self.seconds is not None and self.clock() - began >= self.seconds:
                raise errors.TaskTimeout(task)
            yield Pause(pause)
            pause = min(pause * 1.5, 2.0)
