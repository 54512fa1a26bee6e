"""What every endpoint shares: the order of checks, idempotency, and what leaves no trace when refused."""

import logging
from http import HTTPStatus
from typing import Any, ClassVar

from django.db import DatabaseError, InterfaceError, transaction
from django.http import HttpRequest, HttpResponse
from django.http.response import HttpResponseBase
from rest_framework import viewsets
from rest_framework.exceptions import APIException, MethodNotAllowed
from rest_framework.request import Request
from rest_framework.response import Response

from config.api import authentication, idempotency, limits, parsers
from config.api.validation import Shape
from wallets import operations, queries
from wallets.errors import DomainError, KeyInUse

log = logging.getLogger("coppice.api")


class _AlreadyAnswered(Exception):
    def __init__(self, response: HttpResponse) -> None:
        self.response = response


def _note_use(found: queries.Credentials) -> None:
    """Write down that the credentials were used. What is answered already is not spoilt if the database cannot."""
    try:
        operations.touch_last_used(api_key_id=found.api_key_id, bearer_token_id=found.bearer_token_id)
    except (DatabaseError, InterfaceError) as error:
        log.debug("use_not_noted", extra={"error": type(error).__name__})


class ApiViewSet(viewsets.ViewSet):
    """
    The base of every endpoint.

    Order of checks: path, method, content type, body, API key, bearer token, idempotency key, and then what the
    view does: shape, rule. A subclass maps methods to actions in `as_view({"get": "list", …})`; each action
    translates and makes one domain call. See `config.api.idempotency` for what operations must observe.
    """

    idempotent: ClassVar[bool] = True
    # Said in a URL conf, of a second path to what stands at another: the description leaves it out.
    is_alias: ClassVar[bool] = False
    # Of a body in JSON. More is needed for long lists only.
    maximum_bytes: ClassVar[int] = parsers.MAXIMUM_BYTES
    # Actions whose operation stores the answer in the statement of its effect: see `config.api.idempotency.claim`.
    stores_own_answer: ClassVar[frozenset[str]] = frozenset()
    # Actions that begin a task, or ask the RAIDA servers: see `config.api.limits`.
    begins_tasks: ClassVar[frozenset[str]] = frozenset()

    def takes_proof(self, request: Request) -> bool:
        """Tell whether the action hands `config.api.authentication.proof` on to the one statement that answers."""
        return False

    def initial(self, request: Request, *args: Any, **kwargs: Any) -> None:
        if not hasattr(self, str(request.method).lower()):
            raise MethodNotAllowed(str(request.method))
        if request.method == "OPTIONS":
            return
        if self.idempotent:
            request._request.idempotency_key = idempotency.read_key(request._request)  # type: ignore[attr-defined]
        begins_task = self.action in self.begins_tasks
        is_keyed = idempotency.key_of(request._request) is not None
        if begins_task and not is_keyed:
            limits.refuse_again(request._request, **self._who_begins(request))
        request._request.takes_proof = self._may_be_asked_again(request)  # type: ignore[attr-defined]
        super().initial(request, *args, **kwargs)
        found = authentication.credentials_of(request._request)
        if found is not None:
            limits.count(request._request, found, is_task=begins_task)
            stored = idempotency.answer_stored(request, found)
            if stored is not None:
                raise _AlreadyAnswered(stored)
        if begins_task and is_keyed:
            # Only now: what repeats an earlier request gets that one's answer, whatever was refused meanwhile.
            limits.refuse_again(request._request, **self._who_begins(request))
        if request._request.META.get("QUERY_STRING") and not self._reads_query():
            Shape().read_query(request.query_params)

    def _who_begins(self, request: Request) -> dict[str, str]:
        return {"bearer": authentication.bearer_of(request._request), "action": f"{type(self).__name__}.{self.action}"}

    def _may_be_asked_again(self, request: Request) -> bool:
        if getattr(request._request, "was_unproven", False) or not self.takes_proof(request):
            return False
        if int(request.META.get("CONTENT_LENGTH") or 0) > parsers.MAXIMUM_BYTES:
            return False
        # Kept by Django, so that it can be read again.
        _ = request._request.body
        return True

    def _reads_query(self) -> bool:
        # Said by `config.api.openapi.describe`, which must name the parameters anyway.
        return bool(getattr(getattr(self, self.action), "reads_query", False))

    def perform_content_negotiation(self, request: Request, force: bool = False) -> Any:
        # There is one representation, whatever `Accept` says: the public service never looks at it.
        renderer = self.get_renderers()[0]
        return renderer, renderer.media_type

    def options(self, request: HttpRequest, *args: Any, **kwargs: Any) -> Response:
        return Response()

    def handle_exception(self, exc: Exception) -> Any:
        if isinstance(exc, _AlreadyAnswered):
            return exc.response
        # A refusal has changed nothing. What a fault has changed nobody knows: it is never asked again.
        if isinstance(exc, DomainError | APIException) and authentication.proof(self.request) is not None:
            raise authentication.Unproven from exc
        if isinstance(exc, authentication.Unproven):
            raise exc
        response = super().handle_exception(exc)
        if response.status_code == HTTPStatus.TOO_MANY_REQUESTS and self.action in self.begins_tasks:
            limits.note_refusal(self.request._request, exc, **self._who_begins(self.request))
        return response

    def dispatch(self, request: HttpRequest, *args: Any, **kwargs: Any) -> HttpResponseBase:
        is_keyed = "HTTP_IDEMPOTENCY_KEY" in request.META and request.method in idempotency.METHODS
        action = self.action_map.get(str(request.method).lower())
        if self.idempotent and is_keyed and action not in self.stores_own_answer:
            response = self._dispatch_once(request, *args, **kwargs)
        else:
            try:
                response = super().dispatch(request, *args, **kwargs)
            except authentication.Unproven:
                request.was_unproven = True  # type: ignore[attr-defined]
                response = super().dispatch(request, *args, **kwargs)
        found = authentication.credentials_of(request)
        if found is not None and found.use_is_stale and response.status_code < 400:
            _note_use(found)
        for name, value in getattr(request, "limit_headers", {}).items():
            response[name] = value
        return response

    def _dispatch_once(self, request: HttpRequest, *args: Any, **kwargs: Any) -> HttpResponseBase:
        twin_was_faster = False
        try:
            with transaction.atomic():
                response = super().dispatch(request, *args, **kwargs)
                if isinstance(response, Response):
                    response.render()
                found = authentication.credentials_of(request)
                if not 200 <= response.status_code < 300:
                    transaction.set_rollback(True)
                elif found is not None and isinstance(response, Response):
                    twin_was_faster = not idempotency.keep(self.request, found, response)
                    transaction.set_rollback(twin_was_faster)
        except (DatabaseError, InterfaceError) as error:
            # Storing or committing failed. After a cut connection nobody knows whether the commit happened:
            # the client asks again with the same key, and gets the first answer or a first effect.
            return self._refused(request, error)
        if twin_was_faster:
            return self._refused(request, KeyInUse())
        return response

    def _refused(self, request: HttpRequest, error: Exception) -> HttpResponseBase:
        request.credentials = None  # type: ignore[attr-defined]
        # Perhaps `dispatch` did not come as far as this.
        self.headers = self.default_response_headers
        if not isinstance(self.request, Request):
            self.request = self.initialize_request(request, *self.args, **self.kwargs)
        return self.finalize_response(self.request, self.handle_exception(error))

    @property
    def default_response_headers(self) -> dict[str, str]:
        # Without `Vary: Accept`: there is one representation. Without OPTIONS, which every path answers, `Allow` says
        # of `/auth` what the Treetracker contract, row 1, has it say.
        methods = [method for method in self.allowed_methods if method != "OPTIONS"]
        return {"Allow": ", ".join(methods), "Cache-Control": "no-store"}
