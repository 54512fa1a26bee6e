"""The rules that requests meet before and after their action, called directly, with rows on both sides of each."""

import json
from collections.abc import Iterator
from dataclasses import replace
from datetime import UTC, datetime
from types import SimpleNamespace
from typing import Any, cast
from uuid import UUID

import pytest
from django.contrib.auth.models import AnonymousUser
from django.core.exceptions import (
    BadRequest,
    PermissionDenied,
    RequestDataTooBig,
    SuspiciousOperation,
    TooManyFilesSent,
)
from django.db import OperationalError, ProgrammingError, connection
from django.http import Http404, HttpRequest
from django.test import RequestFactory
from django.test.utils import CaptureQueriesContext
from django.urls import resolve
from rest_framework import exceptions as drf_errors
from rest_framework.request import Request

from config.api import authentication, claim_limits, errors, parsers, throttles
from config.api import error_codes as codes
from config.api.error_codes import CODES
from config.api.negotiation import NEGOTIATION
from config.api.renderers import encode
from config.api.treetracker import action_token_serializers, transfer_views, v2
from config.api.validation import shortened
from lockers.errors import PeekFailed
from tests.api.caller import Caller
from tests.support.counts import forget_counts
from tests.support.restricted_keys import with_key
from transfers import bulk
from transfers import operations as transfers
from transfers.action_token_lists import ActionTokenRow
from transfers.errors import ActionTokenForAnother, ActionTokenNotVerified, InsufficientTokens
from transfers.models import ActionToken
from trusts.errors import TrustNotAnswerable
from wallets import operations, queries
from wallets.errors import InvalidWalletName, MisleadingWalletName, TokenNotFound, WalletNotControlled, WalletNotFound


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
        (errors.csrf_failure, 403, "csrf_failed"),
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
    if code in {"path_unknown", "forbidden", "internal_error"}:
        is_page = path in {"/admin/x", "/claim"}
        expected = "text/html; charset=utf-8" if is_page else errors.content_type_of(path)
        assert response["Content-Type"] == expected
        assert is_page or response["Error-Code"] == code


BUSY = OperationalError("the connection is lost")


@pytest.mark.parametrize(
    ("error", "status", "code", "header"),
    [
        (WalletNotFound("Could not find entity"), 404, "wallet_not_found", None),
        (errors.Invalid("one", "two"), 422, "invalid_value", None),
        (
            errors.RequestRefused(codes.TOO_MANY_REQUESTS, "Wait", {"Retry-After": "7"}),
            429,
            "too_many_requests",
            ("Retry-After", "7"),
        ),
        (errors.RequestRefused(codes.BATCH_ACCESS_DENIED, "No", status=418), 418, "batch_access_denied", None),
        (drf_errors.MethodNotAllowed("PUT"), 405, "method_not_allowed", None),
        (drf_errors.UnsupportedMediaType("text/plain"), 415, "content_type_unsupported", None),
        (Http404(), 404, "path_unknown", None),
        (drf_errors.NotFound(), 404, "path_unknown", None),
        (drf_errors.NotAuthenticated(), 403, "bearer_token_invalid", ("WWW-Authenticate", errors.CHALLENGE)),
        (drf_errors.AuthenticationFailed(), 403, "bearer_token_invalid", ("WWW-Authenticate", errors.CHALLENGE)),
        (PermissionDenied(), 403, "forbidden", None),
        (drf_errors.PermissionDenied(), 403, "forbidden", None),
        (drf_errors.NotAcceptable(), 406, "not_acceptable", None),
        (drf_errors.Throttled(), 429, "too_many_requests", ("Retry-After", "1")),
        (RequestDataTooBig(), 413, "body_too_large", None),
        (TooManyFilesSent(), 413, "too_many_files", None),
        (drf_errors.ParseError(), 400, "malformed_request", None),
        (BadRequest(), 400, "malformed_request", None),
        (SuspiciousOperation(), 400, "malformed_request", None),
        (BUSY, 503, "service_busy", ("Retry-After", "1")),
        (ProgrammingError("no such table"), 500, "internal_error", None),
        (RuntimeError("secret"), 500, "internal_error", None),
    ],
    ids=lambda value: type(value).__name__ if isinstance(value, Exception) else None,
)
def test_each_error_of_a_view_has_its_status_code_and_headers(
    error: Exception, status: int, code: str, header: Any
) -> None:
    request = Request(cast("Any", RequestFactory().get("/wallets")))

    response = errors.exception_handler(error, {"request": request, "view": None})

    assert (response.status_code, response.headers["Error-Code"]) == (status, code)
    assert response.data["code"] == status
    assert header is None or response.headers[header[0]] == header[1]
    assert ("Retry-After" in response.headers) == (header is not None and header[0] == "Retry-After")
    noted: Any = request._request
    assert (noted.error_code, noted.was_refused_knowingly, noted.is_refusal_by_500) == (code, True, False)


@pytest.mark.parametrize(
    ("sent", "is_read"),
    [
        ("application/json", True),
        ("application/json; a=" + "b" * (256 - 20), True),
        ("application/json; a=" + "b" * (257 - 20), False),
        ("text/plain", False),
    ],
)
def test_which_content_type_has_a_parser(sent: str, is_read: bool) -> None:
    parser = parsers.StrictJSONParser()
    request = cast("Any", SimpleNamespace(content_type=sent))

    assert NEGOTIATION.select_parser(request, [parser]) is (parser if is_read else None)


def test_a_get_with_an_idempotency_key_takes_the_statements_of_one_without(alice: Caller) -> None:
    alice.get("/tokens?limit=1")
    counted = []
    for key in (None, "k-1"):
        with CaptureQueriesContext(connection) as statements:
            assert alice.get("/tokens?limit=1", idempotency_key=key).status_code == 200
        counted.append(len(statements))

    assert counted[0] == counted[1]


@pytest.mark.parametrize(
    ("query", "status"), [("from=2020", 200), ("to=2020", 200), ("from=2020&to=2019", 422), ("", 200)]
)
def test_a_period_may_have_one_end(alice: Caller, query: str, status: int) -> None:
    assert alice.wallet is not None
    assert alice.get(f"/wallets/{alice.wallet.pk}/statement?{query}").status_code == status


def test_a_transfer_that_was_made_has_its_actions_if_asked_or_with_terms() -> None:
    request = cast("Any", SimpleNamespace(resolver_match=None))
    for state, status, actions in [
        ("pending", 202, ["delete"]),
        ("requested", 202, ["delete"]),
        ("completed", 201, []),
    ]:
        for asks, has_terms in [(False, None), (False, True), (True, None), (True, True)]:
            row = cast("Any", SimpleNamespace(json='{"id":1}', has_terms=has_terms, state=state))
            response = transfer_views._created(request, row, asks=asks)
            shown = {"available_actions": actions} if asks or has_terms else {}
            assert (response.status_code, json.loads(encode(response.data))) == (status, {"id": 1} | shown)


def test_a_transfer_that_was_closed_has_no_actions_and_says_so_if_asked_or_with_terms() -> None:
    plain, with_actions = b'{"id":1}', b'{"id":1,"available_actions":[]}'
    for asks, has_terms, body in [
        (False, None, plain),
        (False, True, with_actions),
        (True, None, with_actions),
        (True, True, with_actions),
    ]:
        row = cast("Any", SimpleNamespace(json=plain.decode(), has_terms=has_terms))
        assert encode(transfer_views._closed(row, asks=asks).data) == body, (asks, has_terms)


@pytest.fixture
def _no_counts() -> Iterator[None]:
    forget_counts()
    yield
    forget_counts()


@pytest.mark.usefixtures("_no_counts")
def test_which_wrong_codes_of_claim_links_are_too_many(settings: Any) -> None:
    settings.WRONG_CLAIM_CODES_PER_ADDRESS, settings.WRONG_CLAIM_CODES = 3, 5

    def attempt(address: str, code: str, error: Exception | None = None) -> str:
        try:
            with claim_limits.claiming(address=address, code=code):
                if error is not None:
                    raise error
        except errors.RequestRefused as refused:
            wait = int(refused.headers["Retry-After"])
            return "too many" if 1 <= wait <= claim_limits.WINDOW_SECONDS else f"{wait} s"
        except (ActionTokenNotVerified, ActionTokenForAnother, WalletNotFound):
            return "tried"
        return "claimed"

    wrong = ActionTokenNotVerified()
    # What is right, or refused for another reason, is not counted.
    for _ in range(6):
        assert attempt("203.0.113.1", "c-0") == "claimed"
        assert attempt("203.0.113.1", "c-0", WalletNotFound("no")) == "tried"
    # Three of one address; others, and the neighbour that has none, are not closed out.
    assert [attempt("203.0.113.1", f"c-{n}", wrong) for n in range(4)] == ["tried"] * 3 + ["too many"]
    assert attempt("203.0.113.1", "c-right") == "too many"
    assert [attempt("203.0.113.2", f"c-{n}", wrong) for n in range(2)] == ["tried"] * 2
    # Five of all: whoever had one wrong already waits, and each other address has one more.
    assert attempt("203.0.113.2", "c-right") == "too many"
    assert attempt("203.0.113.3", "c-right") == "claimed"
    assert [attempt("203.0.113.3", "c-9", wrong) for _ in range(2)] == ["tried", "too many"]


@pytest.mark.usefixtures("_no_counts")
def test_the_holder_of_a_code_has_ten_addresses_wherever_it_comes_from() -> None:
    another = ActionTokenForAnother()
    for number in range(10):
        with pytest.raises(ActionTokenForAnother), claim_limits.claiming(address=f"203.0.113.{number}", code="c-1"):
            raise another
    with pytest.raises(errors.RequestRefused, match="Too many"), claim_limits.claiming(address="192.0.2.1", code="c-1"):
        pass
    for address in ("192.0.2.1", "203.0.113.1"):
        with claim_limits.claiming(address=address, code="c-2"):
            pass


CREDENTIALS_STATUSES = [401], {401, 403}


@pytest.mark.parametrize(
    ("name", "later", "all_of_them"),
    [
        ("bearer_token_missing", *CREDENTIALS_STATUSES),
        ("batch_access_denied", *CREDENTIALS_STATUSES),
        ("too_many_requests", [429], {429}),
        ("not_enough_tokens", [409], {403, 409}),
        ("batch_rows_refused", [422, 400, 403, 404], {400, 403, 404, 422}),
        ("trust_not_answerable", [404], {403, 404}),
        ("trust_not_found", [404], {404}),
        ("wallet_name_invalid", [422], {400, 422}),
        ("wallet_name_misleading", [422], {422}),
        ("wallet_name_taken", [409], {403, 409}),
        ("wallet_not_controlled", [403, 422], {403, 422}),
        ("wallet_not_found", [404], {404}),
        ("token_not_visible", [403], {401, 403}),
        # They do not occur there.
        ("locker_not_filled", [], {409}),
        ("csrf_failed", [], {403}),
    ],
)
def test_the_statuses_of_a_code(name: str, later: list[int], all_of_them: set[int]) -> None:
    assert errors.later_statuses(CODES[name]) == later
    assert errors.statuses(CODES[name]) == all_of_them


def test_the_status_of_a_class_below_v2() -> None:
    assert [v2.status_of(kind) for kind in (InsufficientTokens, TrustNotAnswerable, InvalidWalletName)] == [
        409,
        404,
        422,
    ]
    # Of the first version: not in the table, or in it without a status.
    assert [v2.status_of(kind) for kind in (WalletNotFound, MisleadingWalletName, TokenNotFound)] == [None] * 3
    assert v2.statuses_of_actions(WalletNotControlled) == [422] * 4
    assert v2.statuses_of_actions(WalletNotFound) == []


def test_the_answers_of_a_restricted_key_alone_are_stored_apart(alice: Caller) -> None:
    for caller, is_apart in ((alice, False), (with_key(alice, "transfers:write"), True)):
        request = cast("Any", RequestFactory().post("/transfers", HTTP_IDEMPOTENCY_KEY="k-1"))
        request.META["HTTP_AUTHORIZATION"] = f"Bearer {caller.bearer}"
        request.META["HTTP_TREETRACKER_API_KEY"] = caller.api_key
        request.resolver_match = resolve("/transfers")
        request.resolver_match.func(request)
        assert request.idempotency_key.startswith("restricted:") is is_apart
        assert hasattr(request, "restricted_key") is is_apart


@pytest.mark.parametrize(
    ("length", "shown"), [(1, "x"), (100, "x" * 100), (101, "x" * 100 + "…"), (300, "x" * 100 + "…")]
)
def test_a_name_in_a_message_has_at_most_100_characters(length: int, shown: str) -> None:
    assert shortened("x" * length) == shown


@pytest.mark.parametrize(
    ("prefix", "shortest", "longest"), [("", *operations._PUBLIC_NAME_LENGTHS), ("/wallet/v2", *v2.LOGIN_NAME_LENGTHS)]
)
def test_a_name_that_no_wallet_has_is_404_within_the_lengths_of_the_version(
    api_key: str, prefix: str, shortest: int, longest: int
) -> None:
    assert operations._PUBLIC_NAME_LENGTHS != v2.LOGIN_NAME_LENGTHS
    lengths = {shortest - 1: 422, shortest: 404, longest: 404, longest + 1: 422}
    for length, status in lengths.items():
        body = {"wallet": "n" * length, "password": "wrong"}
        response = Caller(api_key).post(f"{prefix}/auth", body)
        assert response.status_code == status, length


def test_a_batch_of_links_has_as_many_tokens_as_it_may(alice: Caller, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(bulk, "MAXIMUM_TOKENS", 4)
    transfers.issue_tokens(wallet=alice.wallet, count=9)
    for size, count, status in [(2, 2, 200), (4, 1, 200), (5, 1, 422), (1, 5, 422)]:
        response = alice.post("/action-tokens/batch", {"count": count, "bundle": {"bundle_size": size}})
        assert response.status_code == status, (size, count)
    assert ActionToken.objects.count() == 3


@pytest.mark.parametrize("is_refusal", [True, False])
def test_servers_that_refuse_a_code_are_told_apart_from_those_that_fail(is_refusal: bool) -> None:
    error = PeekFailed(locker_key="A-CODE", successes=3, status=500, detail="", is_refusal=is_refusal)
    request = Request(cast("Any", RequestFactory().get("/api/v1/task")))

    response = errors.exception_handler(error, {"request": request, "view": None})

    noted: Any = request._request
    assert response.status_code == 500
    assert noted.is_refusal_by_500 is is_refusal
    assert (noted.error_code == "locker_code_refused") is is_refusal
