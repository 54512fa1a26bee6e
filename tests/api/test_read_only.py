"""A database that takes no writes: everything can be read, and what writes is answered with 503 and changes nothing."""

import re
from collections.abc import Iterator
from datetime import timedelta
from typing import Any

import psycopg
import pytest
from django.contrib.auth.models import User
from django.db import connection
from django.test import Client
from django.urls import reverse
from django.utils import timezone

from config.admin.models import Session
from config.api import cached_credentials
from config.api.errors import is_problem_path
from config.api.openapi_document import message_of
from config.ops import health
from tests.api.caller import logged_in
from tests.support.databases import database_url
from tests.support.desk_pages import confirmation
from tests.support.object_matrix import FORM, TABLE, World, build, digests, silent_raida  # noqa: F401 - a fixture
from wallets.models import ApiKey, BearerToken, Wallet

pytestmark = pytest.mark.django_db(transaction=True)

# They begin a task, which is a row, or give coins out, which is counted on a locked row.
WRITING_GETS = {
    ("GET", "/api/v1/locker/{code}"),
    ("GET", "/api/v1/echo"),
    ("GET", "/api/transactions/locker/peek"),
    ("GET", "/api/v1/exports/{export_id}/file"),
}
# They look something up; what a client sends is in the body because it is secret.
READING_POSTS = {("POST", "/api/v1/lockers/{locker_id}/code"), ("POST", "/action-tokens/describe")}
READING = [each for each in TABLE if each[0] == "GET" and each not in WRITING_GETS] + sorted(READING_POSTS)
WRITING = [each for each in TABLE if each not in READING]
# Their answers hold the time of the request.
OF_NOW = {("GET", f"/wallets/{{wallet_id}}/{name}") for name in ("balance", "statement", "export")}


@pytest.fixture
def world() -> World:
    return build()


class Switch:
    """Makes the database read-only for every new session of this role, as on a standby server."""

    def turn(self, value: str) -> None:
        connection.close()
        with psycopg.connect(database_url(), autocommit=True, options="-c default_transaction_read_only=off") as direct:
            name = direct.info.dbname
            direct.execute(f'ALTER ROLE SESSION_USER IN DATABASE "{name}" {value}')  # type: ignore[call-overload]
        cached_credentials.clear()


@pytest.fixture
def read_only() -> Iterator[Switch]:
    switch = Switch()
    yield switch
    switch.turn("RESET default_transaction_read_only")


ON = "SET default_transaction_read_only = on"


def test_everything_can_be_read_and_nothing_written(
    world: Any,
    read_only: Switch,
    settings: Any,
    silent_raida: Any,  # noqa: F811
) -> None:
    settings.RAIDA_HOSTS, settings.RAIDA_TIMEOUT_SECONDS = silent_raida, 0.1
    owner = world.callers["owner"]

    def ask(endpoint: tuple[str, str], **headers: str) -> Any:
        asked, body, _ = TABLE[endpoint]
        path = asked.format(**{name: str(value) for name, value in world.ids.items()})
        more = {"content_type": FORM} if isinstance(body, bytes) else {}
        return owner.send(endpoint[0], path, body, **more, **headers)

    def answer(response: Any) -> tuple[int, bytes]:
        return response.status_code, b"".join(response.streaming_content) if response.streaming else response.content

    before = {endpoint: answer(ask(endpoint)) for endpoint in READING}
    # Noting that they were used is due with each request.
    ApiKey.objects.update(last_used_at=None)
    BearerToken.objects.update(last_used_at=None)
    held = digests()
    read_only.turn(ON)

    read = {endpoint: answer(ask(endpoint)) for endpoint in READING}
    written = {endpoint: ask(endpoint) for endpoint in WRITING}
    keyed = {endpoint: ask(endpoint, idempotency_key="k-1") for endpoint in WRITING if endpoint[0] != "GET"}

    assert {endpoint: told[0] for endpoint, told in read.items() if told[0] != 200} == {}
    assert {endpoint for endpoint in READING if read[endpoint] != before[endpoint]} <= OF_NOW
    for answers in (written, keyed):
        assert {each: told.status_code for each, told in answers.items() if told.status_code != 503} == {}
        assert {told["Retry-After"] for told in answers.values()} == {"10"}
        for (_, path), told in answers.items():
            dialect = {"status", "error", "message", "code"} if path.startswith("/api/") else {"message", "code"}
            assert ({"type", "detail", "status"} if is_problem_path(path) else dialect) <= set(told.json()), path
            assert message_of(told.json()) == "Service is read-only for now, try again"
    assert digests() == held

    read_only.turn("RESET default_transaction_read_only")
    assert ask(("POST", "/transfers"), idempotency_key="k-1").status_code == 202


def test_the_desk_shows_its_pages_and_answers_an_act_with_503(read_only: Switch, client: Client, api_key: str) -> None:
    staff = User.objects.create_superuser("olivia", password="a long password")
    alice = logged_in("alice", api_key).wallet
    desk = Client(raise_request_exception=False)
    desk.force_login(staff)
    sent, _ = confirmation(desk, reverse("admin:create-wallet"), name="carol")
    # That the session is in use is due to be written down with each page.
    Session.objects.update(last_used_at=timezone.now() - timedelta(minutes=5))
    pages = [
        "/admin/",
        reverse("admin:wallets_wallet_changelist"),
        reverse("admin:wallets_wallet_change", args=[alice.pk]),
    ]
    pages += sorted(set(re.findall(r'href="(/admin/\w+/\w+/)"', desk.get("/admin/").content.decode())))
    read_only.turn(ON)

    shown = {path: desk.get(path).status_code for path in pages}
    act = desk.post(reverse("admin:create-wallet"), {**sent, "reason": "spring"})
    form = {"username": "olivia", "password": "a long password"}
    signed_in = Client(raise_request_exception=False).post("/admin/login/", form)

    assert len(pages) > 8
    assert set(shown.values()) == {200}
    assert (signed_in.status_code, signed_in["Retry-After"]) == (503, "10")
    assert b"Nothing was changed" in signed_in.content
    assert (act.status_code, act["Retry-After"]) == (503, "10")
    assert not Wallet.objects.filter(name="carol").exists()


def test_readyz_says_read_only(read_only: Switch, client: Client) -> None:
    assert "writes" in client.get("/readyz?without=worker").json()
    read_only.turn(ON)

    told = client.get("/readyz?without=worker,broker")
    without = client.get("/readyz?without=worker,broker,writes")

    assert told.status_code == 503
    assert told.json()["writes"] == (
        "read-only: default_transaction_read_only is on; requests that write are answered with 503"
    )
    assert (without.status_code, without.json()["status"]) == (200, "ok")
    with pytest.raises(health.Unhealthy, match="read-only"):
        health.check_writes()
