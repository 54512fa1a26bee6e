"""Pages without a session: their headers, and the login in the form of an act."""

from typing import Any

import pytest
from django.db import connection, transaction
from django.http import HttpResponse
from django.test import Client, RequestFactory

from config.api import throttles
from config.api.domain_error_codes import BY_CLASS
from config.web import cors, pages, security_headers
from config.web.public_pages import base
from wallets import operations
from wallets.errors import DomainError, InvalidCredentials
from wallets.models import BearerToken, Event, Wallet

PASSWORD = "correct horse"
POLICY = (
    "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' data:; form-action 'self';"
    " base-uri 'none'; frame-ancestors 'none'"
)


@pytest.fixture
def alice(db: None) -> Wallet:
    return operations.create_wallet(name="alice", password=PASSWORD)


def form(**fields: str) -> Any:
    return RequestFactory().post("/claim", fields, REMOTE_ADDR="203.0.113.7")


@pytest.mark.parametrize("path", pages.PUBLIC)
def test_a_page_has_its_own_policy_and_is_stored_nowhere(db: None, path: str) -> None:
    response = Client().get(path)

    assert response.status_code == 200
    assert response["Content-Security-Policy"] == POLICY
    assert response["Cache-Control"] == "private, no-store"
    assert response["X-Robots-Tag"] == "noindex, nofollow"
    assert response["Referrer-Policy"] == "same-origin"
    assert "sessionid" not in response.cookies
    # Nothing inline: the policy would block it.
    text = response.content.decode()
    assert "<script>" not in text
    assert "<style" not in text
    assert "style=" not in text


@pytest.mark.parametrize("prefix", [*pages.PREFIXES, "/livez", "/readyz", "/metrics"])
def test_no_page_of_another_origin_may_read_a_page(prefix: str) -> None:
    assert not [path for path in (prefix, f"{prefix}/", f"{prefix}/x") if cors.PATHS.match(path)]


@pytest.mark.parametrize(("is_secure", "expected"), [(True, "max-age=3600"), (False, None)])
def test_transport_security_is_asked_for_over_https_alone(settings: Any, is_secure: bool, expected: str | None) -> None:
    """A browser ignores it without HTTPS (RFC 6797, 7.2, where a server must not send it)."""
    settings.SECURE_HSTS_SECONDS, settings.SECURE_HSTS_INCLUDE_SUBDOMAINS = 3600, False
    middleware = security_headers.guarded(lambda request: HttpResponse())

    response = middleware(RequestFactory().get("/wallets", secure=is_secure))

    assert (response.status_code, response.get("Strict-Transport-Security")) == (200, expected)


@pytest.mark.parametrize("path", pages.PUBLIC)
def test_a_form_without_its_token_is_refused(db: None, path: str) -> None:
    assert Client(enforce_csrf_checks=True).post(path, {"code": "x"}).status_code == 403


def test_a_login_gives_the_wallet_and_leaves_neither_token_nor_event(alice: Wallet) -> None:
    before = Event.objects.count()

    assert base.log_in(form(wallet=" Alice ", password=PASSWORD)) == alice
    assert (BearerToken.objects.count(), Event.objects.count()) == (0, before)


@pytest.mark.parametrize("name", ["alice", "nobody", "no body", "", "x" * 300])
def test_every_wrong_login_has_the_same_answer(alice: Wallet, name: str) -> None:
    request = form(wallet=name, password="wrong")
    with pytest.raises(base.LoginRefused) as refused:
        base.log_in(request)
    # The log may tell them apart.
    assert request.error_code

    assert refused.value.refusal == base.Refusal(base.WRONG_LOGIN, 403, {})


def test_a_refusal_by_a_rule_has_its_status_and_its_code_in_the_log() -> None:
    # Those that are made without a value.
    kinds = [kind for kind in BY_CLASS if kind.__init__ is DomainError.__init__]
    assert len(kinds) > 20
    for kind in kinds:
        request = form()
        refusal = base.refusal_of(request, kind("as it says"))
        code = BY_CLASS[kind]
        assert refusal == base.Refusal("as it says", 403 if code.status == 401 else code.status, {}), kind
        assert request.error_code == code.name


def test_failures_count_as_those_of_the_api(alice: Wallet) -> None:
    for _ in range(throttles.FAILURES_PER_ACCOUNT):
        with pytest.raises(base.LoginRefused):
            base.log_in(form(wallet="alice", password="wrong"))
    request = form(wallet="alice", password=PASSWORD)
    with pytest.raises(base.LoginRefused) as refused:
        base.log_in(request)
    assert request.error_code == "too_many_login_attempts"

    assert refused.value.refusal.status == 429
    assert "Retry-After" in refused.value.refusal.headers
    with pytest.raises(throttles.RequestRefused), throttles.login(kind="wallet", account=str(alice.pk), address=""):
        pass


def test_an_act_fails_if_the_password_changed_after_it_was_verified(alice: Wallet) -> None:
    verified = base.log_in(form(wallet="alice", password=PASSWORD))
    operations.set_password(wallet=alice, password="another one")

    with pytest.raises(InvalidCredentials), transaction.atomic():
        operations.hold_password(verified)


def test_the_password_is_locked_until_the_act_commits(alice: Wallet) -> None:
    verified = base.log_in(form(wallet="alice", password=PASSWORD))
    with transaction.atomic():
        operations.hold_password(verified)
        with connection.cursor() as cursor:
            cursor.execute("SELECT xmax::text <> '0' FROM wallets_wallet WHERE id = %s", [alice.pk])
            assert cursor.fetchone() == (True,)
