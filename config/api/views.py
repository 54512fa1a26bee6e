"""The base view: the order of checks, idempotency, cached credentials and rollback of refused requests."""

import logging
from http import HTTPStatus
from typing import Any, ClassVar
from uuid import UUID

from django.db import DatabaseError, InterfaceError, OperationalError, connection, transaction
from django.http import HttpRequest, HttpResponse
from django.http.response import HttpResponseBase
from rest_framework import viewsets
from rest_framework.exceptions import APIException, MethodNotAllowed
from rest_framework.request import Request
from rest_framework.response import Response

from config.api import authentication, cached_credentials, idempotency, key_scopes, limits, parsers
from config.api.negotiation import Negotiation
from config.api.treetracker import v2
from config.api.validation import Shape
from trusts import restricted_sql
from wallets import operations, queries, restricted_keys, restrictions
from wallets.errors import DomainError, KeyInUse

log = logging.getLogger("coppice.api")


class _AlreadyAnswered(Exception):
    def __init__(self, response: HttpResponse) -> None:
        self.response = response


def _note_use(found: queries.Credentials) -> None:
    """Update the time of last use. A database error is logged only: the request has its answer already."""
    try:
        operations.touch_last_used(
            api_key_id=found.api_key_id,
            bearer_token_id=found.bearer_token_id,
            restricted_key_id=None if found.restriction is None else found.restriction.key_id,
        )
    except (DatabaseError, InterfaceError) as error:
        log.debug("use_not_noted", extra={"error": type(error).__name__})


class ApiViewSet(viewsets.ViewSet):
    """
    The base of every endpoint.

    Order of checks: path, method, content type, body, API key, bearer token, idempotency key, and then what the
    view does: shape, rule. A subclass maps methods to actions in `as_view({"get": "list", …})`; each action
    translates and makes one domain call. See `config.api.idempotency` for what operations must observe.
    """

    content_negotiation_class = Negotiation
    idempotent: ClassVar[bool] = True
    # Set in a URL conf for a second path to the same endpoint: the API description omits it.
    is_alias: ClassVar[bool] = False
    # The largest JSON body. Only long lists need more than the default.
    maximum_bytes: ClassVar[int] = parsers.MAXIMUM_BYTES
    # Actions whose operation stores the idempotency key in the statement of its effect:
    # see `config.api.idempotency.claim`.
    stores_own_answer: ClassVar[frozenset[str]] = frozenset()
    # Actions that create a task or query the RAIDA servers: see `config.api.limits`.
    begins_tasks: ClassVar[frozenset[str]] = frozenset()
    # Those of them that move no coins, and may be repeated without end.
    inquiries: ClassVar[frozenset[str]] = frozenset()

    # Actions that store the files of a form, with an Idempotency-Key before the transaction: `dispatch` runs them twice
    # then. In the first run `request.is_prepared` is False: the action stores the files. In the second it is True.
    prepared_by_forms: ClassVar[frozenset[str]] = frozenset()

    # Actions that one statement answers; it names the caller by `wallets.queries.ME`, so cached credentials suffice.
    takes_cached_credentials: ClassVar[frozenset[str]] = frozenset()

    def rebuild_answer(self, result_id: UUID) -> HttpResponse:
        """Return the same bytes as the first answer of an action in `stores_own_answer` that created this result."""
        raise NotImplementedError

    def content_type_of_answer(self, request: Request) -> str:
        """Return the media type of the stored answer to the same request. Only files have another."""
        return "application/json"

    def initialize_request(self, request: HttpRequest, *args: Any, **kwargs: Any) -> Request:
        made = super().initialize_request(request, *args, **kwargs)
        # REST framework's request finds an attribute of Django's only after an AttributeError of its own, each time.
        made.META, made.method, made.path_info = request.META, request.method, request.path_info
        made.resolver_match = request.resolver_match
        return made

    def initial(self, request: Request, *args: Any, **kwargs: Any) -> None:
        if not hasattr(self, str(request.method).lower()):
            raise MethodNotAllowed(str(request.method))
        if request.method == "OPTIONS":
            return
        if self.idempotent:
            request._request.idempotency_key = idempotency.read_key(  # type: ignore[attr-defined]
                request._request, restricted_key=getattr(request._request, "restricted_key", "")
            )
        begins_task = self.action in self.begins_tasks
        is_keyed = idempotency.key_of(request._request) is not None
        if begins_task and not is_keyed:
            limits.refuse_again(request._request, **self._who_begins(request))
        super().initial(request, *args, **kwargs)
        found = authentication.credentials_of(request._request)
        if found is not None:
            if not getattr(request._request, "is_prepared", False):
                limits.count(request._request, found, is_task=begins_task, is_inquiry=self.action in self.inquiries)
            # Before a stored answer is read.
            key_scopes.check(getattr(getattr(self, self.action), "operation", ""))
            stored = idempotency.answer_stored(request, found, self.rebuild_answer, self.content_type_of_answer)
            if stored is not None:
                raise _AlreadyAnswered(stored)
        if begins_task and is_keyed:
            # Not earlier: a repeated request gets the first one's answer, whatever was refused in between.
            limits.refuse_again(request._request, **self._who_begins(request))
        if request._request.META.get("QUERY_STRING") and not self._reads_query():
            Shape().read_query(request.query_params)

    def _who_begins(self, request: Request) -> dict[str, str]:
        return {"bearer": authentication.bearer_of(request._request), "action": f"{type(self).__name__}.{self.action}"}

    def _guard(self, request: HttpRequest, action: str | None) -> cached_credentials.Guard | None:
        """Return a guard if cached credentials may answer the request, else None."""
        # With a wallet named in the query, the action takes more than one statement.
        if action not in self.takes_cached_credentials or (
            request.META.get("QUERY_STRING") and "wallet" in request.GET
        ):
            return None
        if hasattr(request, "restricted_key"):
            return None
        length = int(request.META.get("CONTENT_LENGTH") or 0)
        if length > parsers.MAXIMUM_BYTES:
            return None
        if length:
            # Read now, so that Django keeps the body for a second run.
            _ = request.body
        return cached_credentials.Guard()

    def _reads_query(self) -> bool:
        # Set by `config.api.openapi.describe`, which names the parameters.
        return bool(getattr(getattr(self, self.action), "reads_query", False))

    def options(self, request: HttpRequest, *args: Any, **kwargs: Any) -> Response:
        return Response()

    def handle_exception(self, exc: Exception) -> Any:
        if isinstance(exc, _AlreadyAnswered):
            return exc.response
        # Never run again after an unexpected error: its side effects are unknown. A refusal has none.
        guard = getattr(self.request._request, "guard", None)
        if isinstance(exc, DomainError | APIException) and guard is not None and guard.is_used:
            raise cached_credentials.Outdated from exc
        response = super().handle_exception(exc)
        if response.status_code == HTTPStatus.TOO_MANY_REQUESTS and self.action in self.begins_tasks:
            limits.note_refusal(self.request._request, exc, **self._who_begins(self.request))
        return response

    def finalize_response(self, request: Request, response: Response, *args: Any, **kwargs: Any) -> Response:
        # A stored answer (not a `Response`) was finalized when it was stored.
        if isinstance(response, Response) and response.status_code < 400 and v2.is_v2(request):
            action = f"{type(self).__name__}.{self.action}"
            response.status_code, response.data = v2.success(action, response.status_code, response.data)
        return super().finalize_response(request, response, *args, **kwargs)

    def dispatch(self, request: HttpRequest, *args: Any, **kwargs: Any) -> HttpResponseBase:
        bearer = authentication.bearer_of(request)
        if not restricted_keys.is_key(bearer):
            return self._dispatch_any(request, *args, **kwargs)
        request.restricted_key = bearer  # type: ignore[attr-defined]
        with restrictions.may_be_imposed(), connection.execute_wrapper(restricted_sql.narrowed):
            return self._dispatch_any(request, *args, **kwargs)

    def _dispatch_any(self, request: HttpRequest, *args: Any, **kwargs: Any) -> HttpResponseBase:
        is_keyed = "HTTP_IDEMPOTENCY_KEY" in request.META and request.method in idempotency.METHODS
        action = self.action_map.get(str(request.method).lower())
        if self.idempotent and is_keyed and action not in self.stores_own_answer:
            refused = self._prepare(request, action, *args, **kwargs)
            response = self._dispatch_once(request, *args, **kwargs) if refused is None else refused
        else:
            response = self._dispatch_guarded(request, action, *args, **kwargs)
        found = authentication.credentials_of(request)
        if found is not None and found.use_is_stale and response.status_code < 400:
            _note_use(found)
        for name, value in getattr(request, "limit_headers", {}).items():
            response[name] = value
        return response

    def _dispatch_guarded(self, request: HttpRequest, action: str | None, *args: Any, **kwargs: Any) -> Any:
        """Answer with cached credentials if the action allows it and they are still valid, else look them up."""
        guard = self._guard(request, action)
        if guard is not None:
            request.guard = guard  # type: ignore[attr-defined]
            try:
                with guard.over(connection):
                    response = super().dispatch(request, *args, **kwargs)
            except cached_credentials.Outdated:
                pass
            else:
                if not guard.is_used or response.status_code >= 400:
                    return response
                assert guard.has_checked, f"no statement of {action} checked the cached credentials"
                if not getattr(response, "is_empty_page", False):
                    return response
            request.guard = None  # type: ignore[attr-defined]
        return super().dispatch(request, *args, **kwargs)

    def _prepare(self, request: HttpRequest, action: str | None, *args: Any, **kwargs: Any) -> HttpResponseBase | None:
        """Run an action of `prepared_by_forms` outside of the transaction; return a response that ends the request."""
        if action not in self.prepared_by_forms or not str(request.content_type).startswith("multipart/"):
            return None
        request.is_prepared = False  # type: ignore[attr-defined]
        response = super().dispatch(request, *args, **kwargs)
        request.is_prepared = True  # type: ignore[attr-defined]
        return None if response.status_code == 200 and not response.has_header("Idempotency-Replayed") else response

    def _dispatch_once(self, request: HttpRequest, *args: Any, **kwargs: Any) -> HttpResponseBase:
        duplicate_has_committed = is_rolled_back = False
        try:
            with transaction.atomic():
                response = super().dispatch(request, *args, **kwargs)
                if isinstance(response, Response):
                    response.render()
                found = authentication.credentials_of(request)
                if not 200 <= response.status_code < 300:
                    transaction.set_rollback(True)
                elif found is not None and isinstance(response, Response):
                    duplicate_has_committed = not idempotency.keep(self.request, found, response)
                    transaction.set_rollback(duplicate_has_committed)
                is_rolled_back = transaction.get_rollback()
        except (DatabaseError, InterfaceError) as error:
            # Storing or committing failed. If the connection broke during COMMIT its outcome is unknown: the client
            # retries with the same key, and gets the stored answer or a first effect.
            if not isinstance(error, OperationalError | InterfaceError):
                self._undo(request)
            return self._refused(request, error)
        # The stored answer is that of another request with the key, which was faster.
        if is_rolled_back or response.has_header("Idempotency-Replayed"):
            self._undo(request)
        if duplicate_has_committed or (response.status_code >= 400 and idempotency.was_overtaken(request, found)):
            return self._refused(request, KeyInUse())
        return response

    def _undo(self, request: HttpRequest) -> None:
        """Undo the effects outside of the database of an action whose transaction was rolled back."""
        for step in getattr(request, "undo", []):
            step()

    def _refused(self, request: HttpRequest, error: Exception) -> HttpResponseBase:
        request.credentials = None  # type: ignore[attr-defined]
        # `dispatch` may have failed before it set these.
        self.headers = self.default_response_headers
        if not isinstance(self.request, Request):
            self.request = self.initialize_request(request, *self.args, **self.kwargs)
        return self.finalize_response(self.request, self.handle_exception(error))

    @property
    def default_response_headers(self) -> dict[str, str]:
        # No `Vary: Accept`: there is one representation. `Allow` omits OPTIONS, which every path answers, so that it is
        # for `/auth` as in the Treetracker contract, row 1.
        methods = [method.upper() for method in self.http_method_names if method in self.action_map]
        return {"Allow": ", ".join(methods), "Cache-Control": "no-store"}
