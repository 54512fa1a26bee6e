"""
The OpenAPI 3.1 description of the API. The pages at `/docs/` show it (`config.web.docs_pages`).

Each action of a view set is described by a decorator:

    @describe(
        "wallets.create",
        "Create a wallet",
        takes=Takes(body=serializers.NEW_WALLET_BODY),
        answers=serializers.CREATED_WALLET,
        refusals=[errors.WalletNameTaken("The wallet 'sapling' has been existed")],
        tag="wallets",
    )

Request schemas are derived from the shapes that validate requests, response schemas from examples; both are components
with names (`config.api.json_schemas.Named`). Errors that many requests may get (credentials, malformed bodies, a busy
service) are added to all of them.
"""

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from enum import Enum
from http import HTTPStatus
from inspect import cleandoc
from typing import Any, Final, TypeVar

from drf_spectacular.utils import OpenApiExample, OpenApiParameter, OpenApiResponse, extend_schema

from config.api import error_codes as codes
from config.api import errors, key_scopes, openapi_headers
from config.api.error_schemas import component_of
from config.api.json_schemas import Named, OneOf, named_in, plain, schema_like, schema_of
from config.api.treetracker import v2
from config.api.validation import Field, Guid, Number, Shape, Text
from lockers.errors import LockersOff
from wallets.errors import DomainError, KeyInUse
from wallets.states import KeyScope

F = TypeVar("F", bound=Callable[..., Any])
Refusal = DomainError | errors.RequestRefused

PAGE: Final[Mapping[str, Field]] = {
    "limit": Number(1, 2000, from_text=True),
    "start": Number(1, from_text=True, required=False),
    "cursor": Text(maximum=1000, required=False),
}
# The same of a list with what v2 adds (`config.api.pagination.Later`).
LATER_PAGE: Final[Mapping[str, Field]] = {**PAGE, "offset": Number(0, from_text=True, required=False)}
_ABOUT: Final = {
    "limit": "The maximum number of rows.",
    "start": "The position of the first row, from 1. For deep pages follow the `Link` header instead.",
    "offset": "The number of rows to skip; not together with `start`. For deep pages follow the `Link` header instead.",
    "sort_by": "The field by which the list is sorted.",
    "order": "The direction: ascending or descending.",
    "before": "A date; the list ends with the transfers that were created on that day (UTC).",
    "after": "A date or time; the list begins with the transfers that were created then.",
    "after_number": "Only movements with a number above this one.",
    "at": "The moment, as a date or time (RFC 3339); now by default, and if it is later.",
    "from": "A date or time with which the period begins; with the first movement by default.",
    "to": "A date or time before which the period ends; now by default, and if it is later.",
    "created_since": "A date or time; only what was created then or later.",
    "reference": "Only those with exactly this reference.",
    "metadata": "Only transfers whose metadata have these values: `metadata[key]=value` for each key.",
    "awaiting_approval": "Only transfers that await the approval of their sender.",
    "include": "What to add to the answer: what the caller may do with the transfer.",
    "order_by": "As `sort_by` with `order`, newest first by default.",
    "name": "Only wallets with this text in their name, without regard to case, and the caller's own.",
    "scope": "`child`: the managed wallets that cannot log in. `managed`: those that can, or asked to be managed.",
    "created_at_start_date": "Only what was created on this day (UTC) or later.",
    "created_at_end_date": "Only what was created on this day (UTC) or earlier.",
    "search": "Only trusts with this text in the name of one of their wallets, without regard to case.",
    "exclude_managed": "Whether to omit trusts between the caller and wallets that it manages, or between these.",
    "since": "A date or time; earlier events are omitted.",
    "dry_run": "`true`: say what would be done, and do nothing.",
    "cursor": "The position in the `Link` header of the previous page; not together with `start` or `offset`.",
    "state": "Only those in this state.",
    "type": "Only those that give this power.",
    "request_type": "Only those of this request.",
    "wallet": "The name or the id of a wallet that the caller controls.",
    "wallet_path": "Another name for `wallet`. Only one of the two may be sent.",
    "locker_key": "The code of the locker.",
    "id": "The id of the task.",
    "task_id": "Another name for `id`. Exactly one of the two is sent.",
}
# In the path.
_ABOUT_PATHS: Final = {
    "wallet_id": "The id of the wallet.",
    "token_id": "The id of the token.",
    "transfer_id": "The id of the transfer.",
    "action_token_id": "The id of the claim link.",
    "trust_relationship_id": "The id of the trust relationship.",
    "session_id": "The id of the session.",
    "name": "The name or the id of the wallet. `Default` is the caller's own, unless it controls one of that name.",
    "code": "The code of the locker.",
    "locker_id": "The id of the locker.",
    "task_id": "The id of the task.",
    "export_id": "The id of the export, which is that of its task.",
    "payment_request_id": "The id of the payment request.",
    "payment_id": "The id of the payment.",
    "receipt_id": "The id of the receipt: 32 hexadecimal digits.",
    "webhook_id": "The id of the webhook.",
    "key_id": "The id of the key.",
    "delivery_id": "The id of the delivery.",
}
_FILE: Final = {"type": "string", "format": "binary"}
# The reason phrases of RFC 9110, which Python has since 3.13: the document must not depend on the version.
_RENAMED: Final = {413: "Content Too Large", 422: "Unprocessable Content"}

# Errors of requests that no domain rule has seen yet, with the messages that are sent.
_UNREADABLE: Final = [
    errors.RequestRefused(codes.MALFORMED_JSON, "Malformed JSON: Expecting value at position 11"),
    errors.RequestRefused(codes.BODY_TOO_LARGE, "Request entity too large"),
]
_NO_JSON: Final = errors.RequestRefused(
    codes.CONTENT_TYPE_UNSUPPORTED, "Invalid content type. API only supports application/json"
)
_NO_API_KEY: Final = [
    errors.RequestRefused(codes.API_KEY_MISSING, "Invalid access - no API key"),
    errors.RequestRefused(codes.API_KEY_INVALID, "Invalid API access"),
    errors.RequestRefused(codes.API_KEY_ENDED, "Invalid API access, apiKey was deprecated"),
]
_KEY_USED: Final[list["Refusal"]] = [
    KeyInUse(),
    errors.Invalid("This Idempotency-Key was used for another request", code=codes.IDEMPOTENCY_KEY_REUSED),
]
_NO_BEARER_OF_V2: Final = [
    errors.bearer_refused("/", is_v2=True),
    errors.bearer_refused("/", is_v2=True, is_missing=True),
]
# One example for all: each operation names its scopes in words.
_NO_SCOPE: Final = key_scopes.refusal((KeyScope.TRANSFERS_READ,))
_TOO_MANY: Final = errors.RequestRefused(codes.TOO_MANY_REQUESTS, "Too many requests, try again later")
_ALWAYS: Final = [
    errors.RequestRefused(codes.MALFORMED_REQUEST, "Malformed request"),
    errors.Invalid('"x" is not allowed'),
    errors.RequestRefused(codes.INTERNAL_ERROR, "Unknown error"),
    errors.RequestRefused(codes.SERVICE_BUSY, "Service busy, try again"),
]


# Names of error responses by message. Domain errors are added under the names of their classes.
CALLED: Final[dict[str, str]] = {
    "Malformed request": "MalformedRequest",
    _UNREADABLE[0].message: "MalformedJson",
    _UNREADABLE[1].message: "TooLarge",
    _NO_JSON.message: "NotJson",
    **{each.message: "ApiKeyRefused" for each in _NO_API_KEY},
    **{each.message: "BearerRefused" for each in (errors.bearer_refused("/"), *_NO_BEARER_OF_V2)},
    _NO_SCOPE.message: "KeyRefused",
    "Cannot GET /nowhere": "UnknownPath",
    '"x" is not allowed': "UnknownField",
    "This Idempotency-Key was used for another request": "KeyUsedOtherwise",
    "Unknown error": "UnexpectedError",
    "Service busy, try again": "ServiceBusy",
}


class Access(Enum):
    """The credentials that an operation asks for, in the words of its description."""

    API_KEY = "the API key alone."
    BOTH = "the API key and a bearer token."
    BEARER = "a bearer token."
    NONE = "none."


@dataclass(frozen=True, kw_only=True)
class Form:
    """The fields of a multipart form, and its files. `files` may be missing, `file` may not."""

    fields: Named
    file: str = ""
    files: Mapping[str, str] = field(default_factory=dict)
    file_words: str = ""

    def schema(self) -> dict[str, Any]:
        schema = self.fields.schema
        files = {self.file: self.file_words} if self.file else self.files
        return {
            **schema,
            "properties": {
                **schema["properties"],
                **{name: {**_FILE, "description": words} for name, words in files.items()},
            },
            "required": [*schema["required"], *([self.file] if self.file else [])],
        }


@dataclass(frozen=True, kw_only=True)
class Takes:
    """
    What an operation reads of a request.

    Without a `query` it refuses every query parameter (`config.api.views`).
    """

    # The body, or several of which one fits.
    body: Named | Sequence[Named] | None = None
    examples: Mapping[str, Any] = field(default_factory=dict)
    form: Form | None = None
    query: Mapping[str, Field] | None = None
    path: Mapping[str, Field] = field(default_factory=dict)
    # By default, if there is a body.
    is_idempotent: bool | None = None

    @property
    def bodies(self) -> Sequence[Named]:
        return [] if self.body is None else [self.body] if isinstance(self.body, Named) else self.body

    @property
    def takes_key(self) -> bool:
        return self.body is not None if self.is_idempotent is None else self.is_idempotent

    def requests(self) -> dict[str, Any]:
        """Return the schemas of the body by media type."""
        requests: dict[str, Any] = {}
        references = [each.reference for each in self.bodies]
        if references:
            requests["application/json"] = references[0] if len(references) == 1 else {"oneOf": references}
        if self.form is not None:
            requests["multipart/form-data"] = self.form.fields.reference
        return requests


@dataclass(frozen=True)
class Files:
    """An answer that is a file, with its media types."""

    media_types: Sequence[str]


# The form of each component that is one: a file is no field of a shape.
_FORMS: Final[dict[str, Form]] = {}
# All components that an operation refers to, by name.
COMPONENTS: Final[dict[str, Named]] = {}


def whole(component: Named) -> dict[str, Any]:
    form = _FORMS.get(component.name)
    return component.schema if form is None else form.schema()


def register(components: Iterable[Named]) -> None:
    """Add components that no operation refers to, with what they refer to."""
    _known(components)


def _known(components: Iterable[Named]) -> None:
    for each in components:
        known = COMPONENTS.setdefault(each.name, each)
        if known is not each:
            raise LookupError(f"two components are named {each.name}")
        _known(each.parts())


@dataclass(frozen=True)
class Description:
    """
    The description of an action; used as its decorator under the name `describe`.

    `operation` is the id of the operation, `"transfers.create"`: clients are generated from it, so it never changes.
    `answers` has an example by status, or one for 200. The text is the docstring of the action; `about` continues it.
    """

    operation: str
    summary: str
    answers: Any
    tag: str
    takes: Takes = Takes()
    # The errors of this action.
    refusals: Sequence[Refusal] = ()
    access: Access = Access.BOTH
    about: str = ""
    # Whether errors are problem details: see `config.api.errors.is_problem_path`.
    has_problems: bool = False

    def __call__(self, action: F) -> F:
        action.operation = self.operation  # type: ignore[attr-defined]
        action.reads_query = self.takes.query is not None  # type: ignore[attr-defined]
        action.needs_no_body = any(not each.of.fields for each in self.takes.bodies)  # type: ignore[attr-defined]
        action.refusals = tuple(self.refusals)  # type: ignore[attr-defined]
        for example in self._examples.values():
            _known(named_in(example))
        _known(self.takes.bodies)
        if self.takes.form is not None:
            _known([self.takes.form.fields])
            _FORMS[self.takes.form.fields.name] = self.takes.form
        return extend_schema(
            operation_id=self.operation,
            summary=self.summary,
            description=self._text(action),
            parameters=[
                *_parameters(self.takes.query or {}, self.takes.path),
                *openapi_headers.headers(self.takes.query, list(self._examples), is_idempotent=self.takes.takes_key),
            ],
            request=self.takes.requests() or None,
            responses=self._responses(action.__qualname__),
            examples=[
                OpenApiExample(name, value, request_only=True, media_type="application/json")
                for name, value in self.takes.examples.items()
            ],
            tags=[self.tag],
        )(action)

    @property
    def _examples(self) -> Mapping[int, Any]:
        if isinstance(self.answers, Files):
            return {}
        is_by_status = isinstance(self.answers, dict) and all(isinstance(each, int) for each in self.answers)
        return self.answers if is_by_status else {200: self.answers}

    @property
    def _has_v2(self) -> bool:
        return self.access is not Access.BEARER and not self.has_problems

    @property
    def _path(self) -> str:
        """A path whose errors have the format of this action's."""
        if self.has_problems:
            return "/api/v1/payment-requests" if self.access is Access.BEARER else "/webhooks"
        return "/api/" if self.access is Access.BEARER else "/"

    @property
    def _scopes(self) -> str:
        allowing = key_scopes.OPERATIONS.get(self.operation)
        if allowing is None:
            return ""
        scopes = " or ".join(f"`{scope.value}`" for scope in allowing)
        return f"A restricted key needs the scope {scopes}." if scopes else "No restricted key may do this."

    def _text(self, action: Callable[..., Any]) -> str:
        told = [cleandoc(action.__doc__ or ""), self.about, self._scopes, f"Credentials: {self.access.value}"]
        refused = sorted({(_status(each), _message(each), self._retold(each, action)) for each in self.refusals})
        if refused:
            told.append("Errors:\n\n" + "\n".join(f"* {status} `{text}`{later}" for status, text, later in refused))
        return "\n\n".join(each for each in told if each)

    def _retold(self, refusal: Refusal, action: Callable[..., Any]) -> str:
        """Return in words how an error is answered below `/wallet/v2`, or "" if it is the same."""
        if not self._has_v2:
            return ""
        later = _later(refusal, action.__qualname__)
        if later is None:
            return ""
        is_reworded = later.message != _message(refusal)
        return f", below `/wallet/v2` {later.status_code}" + (f" `{later.message}`" if is_reworded else "")

    def _responses(self, action: str) -> dict[Any, Any]:
        responses: dict[Any, Any] = {
            (each, "application/json"): OpenApiResponse(
                schema_like(example),
                description=_phrase(each),
                examples=[OpenApiExample(_phrase(each), plain(example), response_only=True)],
            )
            for each, example in self._examples.items()
        }
        if isinstance(self.answers, Files):
            for media_type in self.answers.media_types:
                responses[200, media_type] = OpenApiResponse(_FILE, description=_phrase(200))
        is_locker = self.access is Access.BEARER
        possible: list[Refusal] = [
            *self.refusals,
            *(filter(None, (_later(each, action) for each in self.refusals)) if self._has_v2 else []),
            *_ALWAYS,
            *([LockersOff()] if is_locker else [] if self.access is Access.NONE else _NO_API_KEY),
            *(
                []
                if self.access in {Access.API_KEY, Access.NONE}
                else [
                    errors.bearer_refused(self._path),
                    *(_NO_BEARER_OF_V2 if self._has_v2 else []),
                    _NO_SCOPE,
                    _TOO_MANY,
                ]
            ),
            *([*_UNREADABLE, _NO_JSON] if self.takes.body is not None else []),
            *(_KEY_USED if self.takes.takes_key else []),
            *(
                errors.Invalid(f'"{name}" must be a valid GUID')
                for name, each in self.takes.path.items()
                if _is_id(each)
            ),
            *([errors.RequestRefused(codes.PATH_UNKNOWN, "Cannot GET /nowhere")] if self.takes.path else []),
        ]
        return responses | _responses(possible, self._path)


describe: Final = Description
NOTHING: Final = Named("Nothing", "A body without fields. It may be omitted.", Shape({}))


def _phrase(status: int) -> str:
    return _RENAMED.get(status) or HTTPStatus(status).phrase


def _is_id(value: Field) -> bool:
    return isinstance(value, Guid)


def _enumeration(field: Field) -> dict[str, Any] | None:
    """Return a reference to the component with the choices of the field, if there is one."""
    choices = sorted(getattr(field, "choices", None) or ())
    for each in COMPONENTS.values():
        if choices and isinstance(each.of, OneOf) and sorted(each.of.choices) == choices:
            return each.reference
    return None


def _parameters(query: Mapping[str, Field], path: Mapping[str, Field]) -> Iterator[OpenApiParameter]:
    for name, each in query.items():
        schema = schema_of(each, in_query=True)
        yield OpenApiParameter(
            name,
            _enumeration(each) or schema,
            OpenApiParameter.QUERY,
            required=each.required,
            description=_ABOUT.get(name, ""),
            style="deepObject" if schema.get("type") == "object" else None,
        )
    for name, each in path.items():
        yield OpenApiParameter(
            name, schema_of(each), OpenApiParameter.PATH, required=True, description=_ABOUT_PATHS.get(name, "")
        )


def _status(refusal: Refusal) -> int:
    status = refusal.status_code if isinstance(refusal, errors.RequestRefused) else errors.status_of(refusal)
    if status is None:
        raise LookupError(f"{type(refusal).__name__} has no status in config.api.errors")
    return status


def _code(refusal: Refusal) -> codes.ErrorCode:
    code = refusal.code if isinstance(refusal, errors.RequestRefused) else errors.code_of(refusal)
    if code is None:
        raise LookupError(f"{type(refusal).__name__} has no code in config.api.errors")
    return code


def _later(refusal: Refusal, action: str) -> errors.RequestRefused | None:
    """Return how an error of the action is answered below `/wallet/v2`, or None if it is the same."""
    if not isinstance(refusal, DomainError):
        return None
    before = _status(refusal), str(refusal)
    status, message = v2.refusal(action, refusal, status=before[0], message=before[1])
    if (status, message) == before:
        return None
    later = errors.RequestRefused(_code(refusal), message, status=status)
    later.extra = getattr(refusal, "extra", {})  # type: ignore[attr-defined]
    CALLED.setdefault(message, type(refusal).__name__)
    return later


def _message(refusal: Refusal) -> str:
    return refusal.message if isinstance(refusal, errors.RequestRefused) else str(refusal)


def _responses(refusals: Sequence[Refusal], path: str) -> dict[Any, OpenApiResponse]:
    by_status: dict[int, list[Refusal]] = {}
    for refusal in refusals:
        by_status.setdefault(_status(refusal), []).append(refusal)
    responses: dict[Any, OpenApiResponse] = {}
    for status, group in sorted(by_status.items()):
        bodies = {}
        more: dict[str, Any] = {}
        for refusal in group:
            message = _message(refusal)
            extra = getattr(refusal, "extra", {})
            bodies[message] = errors.body_of(path, _code(refusal), message, status=status, extra=plain(extra))
            if isinstance(refusal, DomainError):
                CALLED[message] = type(refusal).__name__
            more |= extra
        component = component_of(path, more)
        _known([component])
        responses[status, errors.content_type_of(path)] = OpenApiResponse(
            component.reference,
            description=_phrase(status),
            examples=[OpenApiExample(message, value, response_only=True) for message, value in bodies.items()],
        )
    return responses
