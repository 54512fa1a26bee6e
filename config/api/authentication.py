"""
Who is asking: the API key and the bearer token of a request, looked up in one statement.

An action whose own statement looks at them again takes a *proof* of credentials that were good a moment ago, which
saves this trip. Then only what it finds or does is right. A refusal, or a page with nothing on it, may only mean that
they have ended: it is thrown away, they are looked up, and the action is asked again (`config.api.views`).
"""

import re
import time
from dataclasses import replace
from typing import Any, Final
from uuid import UUID

from django.http import HttpRequest
from rest_framework.authentication import BaseAuthentication
from rest_framework.request import Request
from rest_framework.utils.mediatypes import media_type_matches

from config.api import errors, idempotency
from wallets import queries
from wallets.models import Wallet

_BEARER: Final = re.compile(r"bearer +([A-Za-z0-9._~+/=-]{1,2048})", re.IGNORECASE | re.ASCII)


def check_body(request: Request) -> None:
    """
    Check content type and body, which come before any credential.

    :raises RequestRefused: 415, 413 or 400
    """
    if request.method not in {"POST", "PUT", "PATCH"}:
        return
    # The public service wants the header even where there is no body; the locker dialect only where there is one. An
    # action without fields, such as accepting, needs neither.
    if not request.content_type and not errors.is_locker_path(request.path_info):
        if _needs_no_body(request) and not int(request.META.get("CONTENT_LENGTH") or 0):
            return
        raise errors.RequestRefused(415, "Invalid content type. API only supports application/json")
    parsers = request.parsers or ()
    if request.content_type and not any(media_type_matches(each.media_type, request.content_type) for each in parsers):
        expected = ", ".join(str(each.media_type) for each in parsers)
        who = "API" if expected == "application/json" else "Endpoint"
        raise errors.RequestRefused(415, f"Invalid content type. {who} only supports {expected}")
    # Reading is what checks.
    _ = request.data


def _needs_no_body(request: Request) -> bool:
    view = request.parser_context["view"]
    # Said by `config.api.openapi.describe`, which also writes it into the description.
    return bool(getattr(getattr(view, view.action), "needs_no_body", False))


def check_api_key(sent: str, found: queries.Credentials) -> None:
    """
    Refuse a request without a valid API key.

    :raises RequestRefused: 401
    """
    if not sent:
        raise errors.RequestRefused(401, "Invalid access - no API key", _CHALLENGE, name="ApiKeyMissing")
    if found.api_key_id is None:
        raise errors.RequestRefused(401, "Invalid API access", _CHALLENGE, name="ApiKeyUnknown")
    if found.api_key_is_revoked:
        raise errors.RequestRefused(401, "Invalid API access, apiKey was deprecated", _CHALLENGE, name="ApiKeyEnded")


_CHALLENGE: Final = {"WWW-Authenticate": "Treetracker-API-Key"}


# What was looked up and good, by the digests of what was sent, with the moment at which it is forgotten. To remember an
# ended one costs a second attempt and nothing else.
_REMEMBERED_SECONDS: Final = 60.0
_REMEMBERED_AT_MOST: Final = 10_000
_remembered: Final[dict[tuple[bytes, bytes], tuple[float, queries.Credentials]]] = {}


class Unproven(Exception):
    """What came of a proof may only mean that it has ended."""


def proof(request: Request) -> queries.CachedCredentials | None:
    """Return the proof that the action must hand on; None if the credentials were looked up for this request."""
    found = credentials_of(request._request)
    return found.proof if found is not None and getattr(request._request, "is_proven_later", False) else None


def forget_all() -> None:
    """Forget what was looked up."""
    _remembered.clear()


def bearer_of(request: HttpRequest) -> str:
    """Return the bearer token that was sent; "" for none."""
    match = _BEARER.fullmatch(request.META.get("HTTP_AUTHORIZATION", "").strip())
    return match[1] if match else ""


def _look_up(request: Request) -> tuple[str, queries.Credentials]:
    api_key, bearer = request.META.get("HTTP_TREETRACKER_API_KEY", ""), bearer_of(request._request)
    sent = queries.digest(api_key), queries.digest(bearer)
    until, found = _remembered.get(sent, (0.0, None))
    is_proven_later = getattr(request._request, "takes_proof", False) and time.monotonic() < until
    if found is None or not is_proven_later:
        found = queries.credentials(
            api_key=api_key, bearer=bearer, idempotency_key=idempotency.key_of(request._request)
        )
        _remember(sent, found)
    # Read by `config.api.views` and `config.api.idempotency`, and by views that need `api_key_may_batch`.
    request._request.credentials = found  # type: ignore[attr-defined]
    request._request.is_proven_later = is_proven_later  # type: ignore[attr-defined]
    return api_key, found


def _remember(sent: tuple[bytes, bytes], found: queries.Credentials) -> None:
    if found.proof is None:
        _remembered.pop(sent, None)
        return
    if len(_remembered) >= _REMEMBERED_AT_MOST:
        _remembered.clear()
    # What is true of this request alone: the statement that takes the proof looks at the idempotency key as well.
    kept = replace(found, answer=None, holds_key=True, use_is_stale=False)
    _remembered[sent] = time.monotonic() + _REMEMBERED_SECONDS, kept


def caller(request: Request) -> Wallet:
    """Return the wallet that is asking."""
    if not isinstance(request.user, Wallet):
        raise errors.bearer_refused(request.path_info)
    return request.user


def credentials_of(request: HttpRequest) -> queries.Credentials | None:
    """Return what authentication found, if it came so far."""
    return getattr(request, "credentials", None)


def api_key_id(request: Request) -> UUID | None:
    """Return the id of the API key with which the client came."""
    found = credentials_of(request._request)
    return None if found is None else found.api_key_id


class BearerAuthentication(BaseAuthentication):
    """
    `request.user` is the wallet, `request.auth` the id of the bearer token.

    Treetracker paths need the API key too, and its refusal comes first.
    """

    def authenticate(self, request: Request) -> tuple[Wallet, Any]:
        check_body(request)
        api_key, found = _look_up(request)
        if not errors.is_locker_path(request.path_info):
            check_api_key(api_key, found)
        if found.wallet is None:
            raise errors.bearer_refused(request.path_info)
        return found.wallet, found.bearer_token_id

    def authenticate_header(self, request: Request) -> str:
        return errors.CHALLENGE


class ApiKeyAuthentication(BaseAuthentication):
    """For `/auth`: an API key and no bearer token. `request.user` is None, `request.auth` the id of the key."""

    def authenticate(self, request: Request) -> tuple[None, Any]:
        check_body(request)
        api_key, found = _look_up(request)
        check_api_key(api_key, found)
        return None, found.api_key_id
