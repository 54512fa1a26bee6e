"""Authentication: the API key and the bearer token of a request, looked up in one statement or cached."""

import re
from dataclasses import replace
from typing import Any, Final
from uuid import UUID

from django.http import HttpRequest
from rest_framework.authentication import BaseAuthentication
from rest_framework.request import Request

from config.api import cached_credentials, errors, idempotency
from config.api import error_codes as codes
from config.api.negotiation import NEGOTIATION
from config.api.treetracker import v2
from config.web.addresses import client_address
from wallets import queries, restricted_keys, restrictions
from wallets.models import Wallet

# Only the first word ignores case: with the characters after it, a match takes three times as long.
_BEARER: Final = re.compile(r"(?i:bearer) +([A-Za-z0-9._~+/=-]{1,2048})", re.ASCII)


def check_body(request: Request) -> None:
    """
    Check content type and body, before any credential.

    :raises RequestRefused: 415, 413 or 400
    """
    if request.method not in {"POST", "PUT", "PATCH"}:
        return
    # The public service requires the header even without a body; the locker dialect only with one. An action without
    # fields, such as accepting, needs neither.
    if not request.content_type and not errors.is_locker_path(request.path_info):
        if _needs_no_body(request) and not int(request.META.get("CONTENT_LENGTH") or 0):
            return
        raise errors.RequestRefused(
            codes.CONTENT_TYPE_UNSUPPORTED, "Invalid content type. API only supports application/json"
        )
    parsers = request.parsers or ()
    if request.content_type and NEGOTIATION.select_parser(request, parsers) is None:
        expected = ", ".join(str(each.media_type) for each in parsers)
        who = "API" if expected == "application/json" else "Endpoint"
        raise errors.RequestRefused(
            codes.CONTENT_TYPE_UNSUPPORTED, f"Invalid content type. {who} only supports {expected}"
        )
    # Reading parses the body, and so checks it.
    _ = request.data


def _needs_no_body(request: Request) -> bool:
    view = request.parser_context["view"]
    # Set by `config.api.openapi.describe`, which also writes it into the API description.
    return bool(getattr(getattr(view, view.action), "needs_no_body", False))


def check_api_key(sent: str, found: queries.Credentials) -> None:
    """
    Refuse a request without a valid API key.

    :raises RequestRefused: 401
    """
    if not sent:
        raise errors.RequestRefused(codes.API_KEY_MISSING, "Invalid access - no API key", _CHALLENGE)
    if found.api_key_id is None:
        raise errors.RequestRefused(codes.API_KEY_INVALID, "Invalid API access", _CHALLENGE)
    if found.api_key_is_revoked:
        raise errors.RequestRefused(codes.API_KEY_ENDED, "Invalid API access, apiKey was deprecated", _CHALLENGE)


_CHALLENGE: Final = {"WWW-Authenticate": "Treetracker-API-Key"}


def bearer_of(request: HttpRequest) -> str:
    """Return the bearer token of the `Authorization` header, or ""."""
    match = _BEARER.fullmatch(request.META.get("HTTP_AUTHORIZATION", "").strip())
    return match[1] if match else ""


def _look_up(request: Request) -> tuple[str, queries.Credentials]:
    api_key, bearer = request.META.get("HTTP_TREETRACKER_API_KEY", ""), bearer_of(request._request)
    sent = queries.digest(api_key), queries.digest(bearer)
    # Set by `config.api.views` for actions in `takes_cached_credentials`.
    guard: cached_credentials.Guard | None = getattr(request._request, "guard", None)
    found = None if guard is None else cached_credentials.recall(sent)
    if guard is not None and found is not None:
        guard.use(found)
    else:
        found = queries.credentials(
            api_key=api_key,
            bearer=bearer,
            idempotency_key=idempotency.key_of(request._request),
            is_restricted=restricted_keys.is_key(bearer),
        )
        terms = found.restriction
        if terms is not None and not restricted_keys.is_from(client_address(request._request), terms.networks):
            # As if the key were unknown.
            found = replace(found, wallet=None, restriction=None, answer=None, use_is_stale=False)
        # Restricted keys are not: each request looks its key up.
        cached_credentials.remember(sent, found)
    # Read by `config.api.views` and `config.api.idempotency`, and by views that need `api_key_may_batch`.
    request._request.credentials = found  # type: ignore[attr-defined]
    return api_key, found


def caller(request: Request) -> Wallet:
    """
    Return the wallet of the caller.

    :raises RequestRefused: 401
    """
    user = request.user
    if not isinstance(user, Wallet):
        raise errors.bearer_refused(request.path_info, is_v2=v2.is_v2(request))
    return user


def credentials_of(request: HttpRequest) -> queries.Credentials | None:
    """Return the credentials that authentication found, or None before authentication."""
    return getattr(request, "credentials", None)


def api_key_id(request: Request) -> UUID | None:
    """Return the id of the request's API key, or None."""
    found = credentials_of(request._request)
    return None if found is None else found.api_key_id


def bearer_token_id(request: Request) -> UUID:
    """
    Return the id of the request's bearer token.

    :raises RequestRefused: 401
    """
    caller(request)
    token_id: UUID = request.auth  # type: ignore[assignment]
    return token_id


def credential_id(request: Request) -> UUID | None:
    """
    Return the id of the login behind the request: of its bearer token, or of the one that made its restricted key.

    :raises RequestRefused: 401
    """
    restriction = restrictions.current()
    return bearer_token_id(request) if restriction is None else restriction.made_with


class BearerAuthentication(BaseAuthentication):
    """
    `request.user` is the wallet, `request.auth` the id of the bearer token, or None for a restricted key.

    Treetracker paths also require an API key, which is checked first.
    """

    def authenticate(self, request: Request) -> tuple[Wallet, Any]:
        check_body(request)
        api_key, found = _look_up(request)
        if not errors.is_locker_path(request.path_info):
            check_api_key(api_key, found)
        if found.wallet is None:
            is_missing = not request.META.get("HTTP_AUTHORIZATION")
            raise errors.bearer_refused(request.path_info, is_v2=v2.is_v2(request), is_missing=is_missing)
        if found.restriction is not None:
            restrictions.impose(found.restriction)
        return found.wallet, found.bearer_token_id

    def authenticate_header(self, request: Request) -> str:
        return errors.CHALLENGE


class Anonymous(BaseAuthentication):
    """For what needs no credentials: content type and body are checked, and nothing else is read."""

    def authenticate(self, request: Request) -> None:
        check_body(request)


class ApiKeyAuthentication(BaseAuthentication):
    """For `/auth`: API key without bearer token. `request.user` is None, `request.auth` the id of the key."""

    def authenticate(self, request: Request) -> tuple[None, Any]:
        check_body(request)
        api_key, found = _look_up(request)
        check_api_key(api_key, found)
        return None, found.api_key_id
