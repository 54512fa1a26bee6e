"""The rules that requests meet before and after their action, called directly, with rows on both sides of each."""

from dataclasses import replace
from datetime import UTC, datetime
from typing import Any, cast
from uuid import UUID

import pytest
from django.contrib.auth.models import AnonymousUser
from django.core.exceptions import RequestDataTooBig
from django.http import HttpRequest
from django.test import RequestFactory
from rest_framework.request import Request

from config.api import authentication, errors, throttles
from config.api.treetracker import action_token_serializers
from tests.api.caller import Caller
from tests.support.restricted_keys import with_key
from transfers.action_token_lists import ActionTokenRow
from wallets import operations, queries


def look_up(caller: Caller, *, address: str, key: str | None) -> queries.Credentials:
    """Return what authentication finds for a request of the caller from this address."""
    request = HttpRequest()
    request.META = {
        "HTTP_TREETRACKER_API_KEY": caller.api_key,
        "HTTP_AUTHORIZATION": f"Bearer {caller.bearer}",
        "REMOTE_ADDR": address,
    }
    request.idempotency_key = key  # type: ignore[attr-defined]
    sent, found = authentication._look_up(Request(request))
    assert sent == caller.api_key
    assert authentication.credentials_of(request) == found
    return found


def test_a_restricted_key_from_elsewhere_is_as_if_unknown(alice: Caller) -> None:
    shop = with_key(alice, "tokens:read", networks=["203.0.113.0/24"])
    assert alice.wallet is not None
    operations.store_response(wallet_id=alice.wallet.pk, key="k-1", fingerprint=b"1" * 32, status=200, body=b"{}")

    inside = look_up(shop, address="203.0.113.7", key="k-1")
    outside = look_up(shop, address="203.0.114.7", key="k-1")

    assert inside.wallet == alice.wallet
    assert inside.restriction is not None
    assert inside.answer is not None
    assert inside.use_is_stale is True
    assert outside == replace(inside, wallet=None, restriction=None, answer=None, use_is_stale=False)
    # A bearer token has no networks.
    assert look_up(alice, address="203.0.114.7", key="k-1").wallet == alice.wallet


@pytest.mark.parametrize(("seconds", "header"), [(-1, "1"), (0, "1"), (1, "1"), (2, "2"), (60, "60")])
def test_a_wait_is_told_in_whole_seconds_of_at_least_one(seconds: int, header: str) -> None:
    assert throttles._too_many(seconds).headers == {"Retry-After": header}


def test_a_link_without_a_message_is_described_with_none() -> None:
    moment = datetime(2030, 1, 1, tzinfo=UTC)
    row = ActionTokenRow(UUID(int=1), UUID(int=2), "alice", "", False, "", 3, "active", moment, moment, None)

    for message, shown in (("", None), ("Thank you", "Thank you")):
        assert action_token_serializers.described(row._replace(message=message))["message"] == shown


def _raised(request: HttpRequest) -> Any:
    """Answer an error as Django does, while it is handled."""
    try:
        raise RuntimeError("secret")
    except RuntimeError:
        return errors.server_error(request)


@pytest.mark.parametrize("path", ["/wallets", "/webhooks", "/api/v1/wallets", "/admin/x", "/claim"])
@pytest.mark.parametrize(
    ("respond", "status", "code"),
    [
        (_raised, 500, "internal_error"),
        (lambda request: errors.page_not_found(request, Exception()), 404, "path_unknown"),
        (lambda request: errors.permission_denied(request, Exception()), 403, "forbidden"),
        (lambda request: errors.bad_request(request, Exception()), 400, "malformed_request"),
        (lambda request: errors.bad_request(request, RequestDataTooBig()), 413, "body_too_large"),
        (lambda request: errors.csrf_failure(request), 403, "csrf_failed"),
    ],
)
def test_an_error_outside_of_a_view_has_its_code_in_the_access_log(
    path: str, respond: Any, status: int, code: str, db: None
) -> None:
    request = cast("Any", RequestFactory().get(path))
    request.user = AnonymousUser()

    response = respond(request)

    assert (response.status_code, request.error_code) == (status, code)
    assert "secret" not in response.content.decode()
