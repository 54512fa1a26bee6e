"""Every error leaves in the dialect of its path, says what it should and no more."""

import json
import logging
from typing import Any

import psycopg
import pytest
from django.core.exceptions import RequestDataTooBig, SuspiciousOperation
from django.db import OperationalError
from django.test import RequestFactory

from config.api import errors
from tests.api.caller import Caller, answer, created, refusal
from wallets.models import ApiKey, BearerToken, Wallet

NOT_VERIFIED = refusal(403, "ERROR: Authentication, token not verified")


@pytest.mark.parametrize("prefix", ["", "/wallet", "/wallet/v2"])
@pytest.mark.parametrize("slash", ["", "/"])
def test_row_1_an_unknown_path_is_404_and_auth_allows_post_alone(alice: Caller, prefix: str, slash: str) -> None:
    unknown = alice.get(f"{prefix}/Nope{slash}")
    wrong_method = alice.get(f"{prefix}/auth{slash}")
    anonymous = Caller().get(f"{prefix}/auth{slash}")

    assert answer(unknown) == refusal(404, f"Cannot GET {prefix}/Nope{slash}")
    assert answer(wrong_method) == answer(anonymous) == refusal(405, "Method GET is not allowed")
    assert wrong_method["Allow"] == "POST"


@pytest.mark.parametrize("prefix", ["", "/wallet", "/wallet/v2"])
@pytest.mark.parametrize("slash", ["", "/"])
def test_every_path_stands_under_the_public_prefix_and_at_the_root_in_any_case_and_with_a_slash(
    alice: Caller, prefix: str, slash: str
) -> None:
    token = alice.post(f"{prefix}/auth{slash}", {"wallet": "alice", "password": "test1234"})
    wallets = alice.get(f"{prefix}/wallets{slash}?limit=1")
    wallet = alice.get(f"{prefix}/Wallets/{alice.wallet.pk.hex.upper()}{slash}")
    tokens = alice.get(f"{prefix}/tokens{slash}?limit=1")

    assert [each.status_code for each in (token, wallets, wallet, tokens)] == [200] * 4


@pytest.mark.parametrize(
    ("body", "why"),
    [
        (b"", None),
        (b"{", "Expecting property name enclosed in double quotes at position 1"),
        (b'{"wallet": "a", "wallet": "b"}', 'duplicate key "wallet"'),
        (b'{"wallet": "a\\u0000b"}', "a NUL character"),
        (b'{"wallet": "\\ud800"}', "a lone surrogate"),
        (b'{"wallet": NaN}', "NaN is not a number"),
        (b'{"wallet": ' + b"9" * 400 + b"}", "a number is too long"),
        (b'{"wallet": 1e999}', "a number is too long"),
        (b'{"wallet": "\xff"}', "not UTF-8 at byte 12"),
        (b"\xff\xfe{\x00}\x00", "not UTF-8 at byte 0"),
        (b"[" * 65 + b"]" * 65, "more than 64 levels"),
        (b'{"a":' * 20_000, "more than 64 levels"),
        (b'"' + b'\\"' * 50_000, "Unterminated string starting at at position 0"),
    ],
)
def test_row_2_a_body_that_is_not_strict_json_is_400(alice: Caller, body: Any, why: str | None) -> None:
    response = alice.post("/wallets", body)

    expected = refusal(422, '"wallet" is required') if why is None else refusal(400, f"Malformed JSON: {why}")
    assert answer(response) == expected
    assert Wallet.objects.count() == 1


@pytest.mark.parametrize("body", [b"[]", b'"text"', b"7", b"null", b"true"])
def test_a_body_that_is_no_object_is_422(alice: Caller, body: bytes) -> None:
    expected = '"wallet" is required' if body == b"null" else '"value" must be of type object'

    assert answer(alice.post("/wallets", body)) == refusal(422, expected)


def test_64_levels_are_read_and_brackets_in_strings_do_not_count(alice: Caller) -> None:
    deep = b'{"x": ' + b"[" * 63 + b"]" * 63 + b"}"
    text = json.dumps({"x": "[" * 500 + '"{'}).encode()

    assert answer(alice.post("/wallets", deep)) == refusal(422, '"wallet" is required')
    assert answer(alice.post("/wallets", text)) == refusal(422, '"wallet" is required')


@pytest.mark.parametrize(
    ("path", "kibibytes", "status"),
    [("/wallets", 99, 422), ("/wallets", 100, 413), ("/transfers", 1023, 422), ("/transfers", 1024, 413)],
)
def test_row_2_a_body_that_is_too_large_is_413(alice: Caller, path: str, kibibytes: int, status: int) -> None:
    body = json.dumps({"x": "x" * 1024 * kibibytes}).encode()

    response = alice.post(path, body)

    assert response.status_code == status
    if status == 413:
        assert answer(response) == refusal(413, "Request entity too large")


@pytest.mark.parametrize("path", ["/claim/", "/admin/login/", "/wallets", "/api/v1/locker", "/wallet/v2/wallets"])
def test_what_django_refuses_before_a_view_is_told_as_views_tell_it(path: str) -> None:
    for refused, status, message in (
        (RequestDataTooBig(), 413, "Request entity too large"),
        (SuspiciousOperation(), 400, "Malformed request"),
    ):
        response = errors.bad_request(RequestFactory().post(path), refused)

        told = json.loads(response.content)
        assert (response.status_code, told.get("message", told.get("detail"))) == (status, message)


@pytest.mark.parametrize("content_type", [None, "text/plain", "application/x-www-form-urlencoded", "nonsense"])
def test_another_content_type_is_415_even_without_a_body(alice: Caller, content_type: str | None) -> None:
    expected = refusal(415, "Invalid content type. API only supports application/json")

    assert answer(alice.post("/wallets", {"wallet": "sapling"}, content_type=content_type)) == expected
    assert answer(alice.post("/wallets", content_type=content_type)) == expected
    assert Wallet.objects.count() == 1


def test_a_charset_parameter_is_fine(alice: Caller) -> None:
    response = alice.post("/wallets", {"wallet": "sapling"}, content_type="application/json; charset=utf-8")

    assert created(response) == (200, "sapling")


def test_the_checks_come_in_the_order_of_the_contract(alice: Caller) -> None:
    """Each request corrects the fault for which the one before was refused."""
    stranger = Caller()
    steps = [
        (stranger, b"{", "text/plain", 415),
        (stranger, b"{", "application/json", 400),
        (stranger, b"{}", "application/json", 401),
        (Caller(api_key=alice.api_key), b"{}", "application/json", 403),
        (alice, b"{}", "application/json", 422),
        (alice, b'{"wallet": "alice"}', "application/json", 403),
        (alice, b'{"wallet": "sapling"}', "application/json", 200),
    ]

    statuses = [
        caller.post("/wallets", body, content_type=content_type).status_code for caller, body, content_type, _ in steps
    ]

    assert statuses == [status for *_, status in steps]


@pytest.mark.parametrize(
    "authorization", [None, "", "Bearer", "Bearer ", "Bearer abc", "Basic {}", "{}", "Bearer {} x"]
)
def test_row_3_without_a_valid_bearer_token_403_in_the_words_of_the_reference(
    alice: Caller, authorization: str | None
) -> None:
    sent = authorization and authorization.replace("{}", alice.bearer)

    response = alice.get("/wallets?limit=1", authorization=sent)

    assert answer(response) == NOT_VERIFIED
    assert response["WWW-Authenticate"] == 'Bearer realm="coppice"'


@pytest.mark.parametrize("scheme", ["Bearer", "bearer", "BEARER", "bEARER  "])
def test_the_scheme_is_compared_without_case(alice: Caller, scheme: str) -> None:
    assert alice.get("/wallets?limit=1", authorization=f"{scheme} {alice.bearer}").status_code == 200


@pytest.mark.parametrize("column", ["revoked_at", "expires_at"])
def test_row_23_a_bearer_token_that_is_revoked_or_expired_opens_nothing(alice: Caller, column: str) -> None:
    BearerToken.objects.update(**{column: "2020-01-01T00:00:00Z"})

    assert answer(alice.get("/wallets?limit=1")) == NOT_VERIFIED


@pytest.mark.parametrize(
    ("sent", "message"),
    [
        (None, "Invalid access - no API key"),
        ("", "Invalid access - no API key"),
        ("wrong", "Invalid API access"),
        ("wr\u00f6ng", "Invalid API access"),
    ],
)
def test_without_a_valid_api_key_401(alice: Caller, sent: str | None, message: str) -> None:
    for path in ("/wallets?limit=1", "/tokens?limit=1", "/tokens/abc"):
        assert answer(alice.get(path, treetracker_api_key=sent)) == refusal(401, message)


@pytest.mark.parametrize("column", ["revoked_at", "expires_at"])
def test_an_api_key_that_is_revoked_or_expired_is_401(alice: Caller, column: str) -> None:
    ApiKey.objects.update(**{column: "2020-01-01T00:00:00Z"})

    assert answer(alice.get("/wallets?limit=1")) == refusal(401, "Invalid API access, apiKey was deprecated")


def test_row_23_keys_and_tokens_are_not_in_the_database(alice: Caller) -> None:
    stored = str(list(ApiKey.objects.values())) + str(list(BearerToken.objects.values()))

    assert alice.api_key not in stored
    assert alice.bearer not in stored


def test_an_unexpected_error_says_nothing_and_is_logged_under_the_id_in_the_answer(
    alice: Caller, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    def broken(**_: object) -> None:
        raise RuntimeError("secret detail")

    monkeypatch.setattr("transfers.counters.wallets_page", broken)
    with caplog.at_level(logging.ERROR, logger="coppice.api"):
        response = alice.get("/wallets?limit=1")

    assert answer(response) == refusal(500, "Unknown error")
    (record,) = [each for each in caplog.records if each.name == "coppice.api"]
    assert "secret detail" in str(record.exc_info)
    assert record.request_id == response["X-Request-Id"]


@pytest.mark.parametrize(
    ("cause", "status"),
    [
        (psycopg.errors.LockNotAvailable(), 503),
        (psycopg.errors.QueryCanceled(), 503),
        (psycopg.errors.DeadlockDetected(), 503),
        (psycopg.errors.SerializationFailure(), 503),
        (psycopg.errors.AdminShutdown(), 503),
        (psycopg.OperationalError("the connection is closed"), 503),
        (psycopg.errors.DiskFull(), 503),
        (psycopg.errors.OutOfMemory(), 503),
        (psycopg.errors.UndefinedTable(), 500),
    ],
)
def test_a_busy_database_is_503_with_retry_after(
    alice: Caller, monkeypatch: pytest.MonkeyPatch, cause: Any, status: int
) -> None:
    def busy(**_: object) -> None:
        raise OperationalError from cause

    monkeypatch.setattr("transfers.counters.wallets_page", busy)
    response = alice.get("/wallets?limit=1")

    message = "Service busy, try again" if status == 503 else "Unknown error"
    assert answer(response) == refusal(status, message)
    assert response.get("Retry-After") == ("1" if status == 503 else None)


TRANSIENT = {"55P03", "57014", "40P01", "40001", "25P03", "25006", "57P01", "57P02", "57P03"}


def test_which_errors_of_the_database_may_pass_in_a_moment() -> None:
    states = {name for name in vars(psycopg.errors) if isinstance(getattr(psycopg.errors, name), type)}
    codes = {
        state for name in states if isinstance(state := getattr(getattr(psycopg.errors, name), "sqlstate", 0), str)
    }
    assert len(codes) > 200

    found = set()
    for code in codes:
        error = OperationalError("failed")
        error.__cause__ = psycopg.errors.lookup(code)()
        if errors.is_transient(error):
            found.add(code)

    assert found == TRANSIENT | {code for code in codes if code[:2] in {"08", "53"}}


def test_the_locker_dialect_needs_no_api_key_and_says_401_for_a_missing_bearer() -> None:
    response = Caller().get("/api/nope")

    assert answer(response) == (404, {"status": "error", "error": True, "message": "Cannot GET /api/nope", "code": 404})


def test_a_host_that_is_not_ours_is_400_in_the_dialect(alice: Caller, settings: Any) -> None:
    settings.ALLOWED_HOSTS = ["example.org"]

    message = "The host in the URL or in the Host header is not served here"
    assert answer(alice.get("/nope", host="evil.example")) == refusal(400, message)


@pytest.mark.parametrize("accept", ["text/html", "application/xml", "*/*", "nonsense"])
def test_what_the_caller_accepts_makes_no_difference(alice: Caller, accept: str) -> None:
    assert alice.get("/wallets?limit=1", accept=accept)["Content-Type"] == "application/json"


def test_options_tells_the_methods_without_credentials(db: None) -> None:
    response = Caller().send("OPTIONS", "/wallets")

    assert (response.status_code, response["Allow"], response.content) == (200, "GET, POST, HEAD", b"")


def test_what_a_client_puts_into_the_body_of_a_get_makes_no_difference(alice: Caller) -> None:
    for body in ({}, {"limit": 5}, b"{"):
        assert alice.send("GET", "/wallets?limit=1", body, content_type="application/json").status_code == 200


def test_head_works(alice: Caller) -> None:
    response = alice.send("HEAD", "/wallets?limit=1")

    assert (response.status_code, response.content) == (200, b"")
