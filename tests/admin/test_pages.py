"""Every page of the desk, as Django's test client gets it."""

import html
import re
from datetime import UTC, datetime
from types import SimpleNamespace
from typing import Any

import pytest
from django.contrib import admin
from django.contrib.auth.models import Group, User
from django.core.checks import run_checks
from django.test import Client
from django.urls import reverse

from config.admin import roles
from tests.admin.conftest import a_link_of
from tests.support.admin_lists import LISTS
from transfers import operations as transfers
from transfers.ledger import Terms
from wallets import operations as wallets
from wallets.models import Wallet


@pytest.mark.parametrize("name", LISTS)
def test_a_list_shows_its_rows_and_each_row_has_a_page(desk: Client, ledger: SimpleNamespace, name: Any) -> None:
    a_link_of(ledger.alice)
    shown = desk.get(reverse(f"admin:{name}_changelist"))
    rows = shown.context["cl"].result_list

    pages = [desk.get(reverse(f"admin:{name}_change", args=[row.pk])) for row in rows]

    assert shown.status_code == 200
    assert rows
    assert [page.status_code for page in pages] == [200] * len(rows)
    for page in (shown, *pages):
        assert b"sealed-and-never-shown" not in page.content
        assert ledger.alice.password.encode() not in page.content


def test_the_home_opens_with_nothing_and_with_everything(desk: Client, request: pytest.FixtureRequest) -> None:
    empty = desk.get(reverse("admin:index"))
    request.getfixturevalue("ledger")
    full = desk.get(reverse("admin:index"))

    assert (empty.status_code, full.status_code) == (200, 200)
    assert b"Create a wallet" in empty.content
    assert b"olivia" in full.content


def test_an_empty_page_names_no_command(desk: Client) -> None:
    """Back-ticks and shell commands are for people without buttons."""
    pages = [desk.get(reverse("admin:index")), *(desk.get(reverse(f"admin:{name}_changelist")) for name in LISTS)]

    # The meaning of a term is a text of the glossary.
    written = {page.request["PATH_INFO"]: re.sub(rb'<a class="what-is".*?</a>', b"", page.content) for page in pages}
    assert [path for path, text in written.items() if re.search(rb"`|manage\.py|(GET|POST) /", text)] == []
    texts = [html.unescape(page.content.decode()) for page in pages]
    assert sum("The guide for partners" in text for text in texts) == 10
    for label in ("Create a wallet", "Create an API key", "Run the audit"):
        assert f">{label}</a>." in "".join(texts)


@pytest.mark.parametrize("role", roles.ROLES)
def test_a_refusal_keeps_the_navigation(db: None, role: str) -> None:
    roles.ensure()
    client = Client()
    person = User.objects.create_user("nora", is_staff=True)
    person.groups.add(Group.objects.get(name=role))
    client.force_login(person)

    missing, home = client.get("/admin/nowhere/"), client.get(reverse("admin:index"))
    denied = client.get(reverse("admin:create-person"))

    links = [page["title"] for page in home.context["around"]]
    assert (missing.status_code, denied.status_code) == (404, 200 if role == roles.ADMINISTRATOR else 403)
    for page in (missing, denied):
        assert [each["title"] for each in page.context["around"]] == links
        assert len(re.findall(rb'<nav class="around"', page.content)) == 1
        assert b'id="logout-form"' in page.content


def test_a_missing_page_elsewhere_shows_no_navigation(desk: Client) -> None:
    missing = desk.get("/docs/nowhere/")

    assert missing.status_code == 404
    assert b'class="around"' not in missing.content


def test_a_missing_page_has_a_page_of_the_admin(desk: Client) -> None:
    answers = [desk.get(path) for path in ("/admin/nowhere/", "/admin/wallets/wallet/nobody/change/")]

    assert [answer.status_code for answer in answers] == [404, 404]
    assert all(b"This page or row does not exist" in answer.content for answer in answers)
    assert all("script-src 'self'" in answer["Content-Security-Policy"] for answer in answers)


def test_the_checks_examine_the_pages(monkeypatch: pytest.MonkeyPatch) -> None:
    assert run_checks(tags=["admin"]) == []
    monkeypatch.setattr(type(admin.site.get_model_admin(Wallet)), "ordering", ["nothing"])

    assert [found.id for found in run_checks(tags=["admin"])] == ["admin.E033"]


def test_the_page_of_a_transfer_shows_its_terms(desk: Client) -> None:
    alice = wallets.create_wallet(name="alice-of-terms")
    wallets.create_wallet(name="bobby-of-terms")
    transfers.issue_tokens(wallet=alice, count=2)
    terms = Terms(
        "order <7>", is_unique=True, metadata={"shop": "north"}, expires_at=datetime(2040, 1, 2, 3, 4, tzinfo=UTC)
    )
    send = {"actor": alice, "sender": alice.name, "receiver": "bobby-of-terms", "size": 1}
    with_terms, without = transfers.send_bundle(**send, terms=terms), transfers.send_bundle(**send)

    def facts(row: Any) -> dict[str, str]:
        page = desk.get(reverse("admin:transfers_transfer_change", args=[row.id]))
        assert page.status_code == 200
        assert b"order <7>" not in page.content
        return {fact.label: f"{fact.value} {fact.note}".strip() for fact in page.context["facts"]}

    shown = facts(with_terms)
    assert (shown["reference"], shown["metadata"]) == ("order <7> unique", "shop: north")
    assert "2040-01-02" in shown["expires"]
    assert not {"reference", "metadata", "expires"} & facts(without).keys()
