"""Signing in with an OpenID Connect provider, by clicks and under the policy of the desk."""

from collections.abc import Iterator
from typing import Any

import pytest
from django.contrib.auth.models import User
from django.core.management import call_command
from playwright.sync_api import Browser, expect

from config.admin import roles
from tests.api.web_server import web_server
from tests.browser.clicks import follow
from tests.browser.pictures import picture
from tests.browser.watched import Watched
from tests.support.counts import forget_failures
from tests.support.desk_in_chromium import Desk, looked_at
from tests.support.oidc_provider import CLIENT, SECRET, Provider, providing


@pytest.fixture(scope="module")
def provider() -> Iterator[Provider]:
    with providing() as server:
        yield server


@pytest.fixture(scope="module")
def desk(django_db_setup: None, django_db_blocker: Any, provider: Provider) -> Iterator[Desk]:
    forget_failures()
    environment = {
        "COPPICE_OIDC_ISSUER": provider.issuer, "COPPICE_OIDC_CLIENT_ID": CLIENT, "COPPICE_OIDC_CLIENT_SECRET": SECRET,
        "COPPICE_OIDC_GROUPS": "tree-ops=operator, staff = viewer", "COPPICE_OIDC_NAME": "Treehouse",
        "COPPICE_OIDC_ONLY": "true",
    }  # fmt: skip
    with django_db_blocker.unblock():
        roles.ensure()
        try:
            with web_server(environment) as address:
                yield Desk(address, None)
        finally:
            call_command("flush", interactive=False, verbosity=0)


def test_a_person_signs_in_with_a_click_and_a_stranger_reads_why_not(
    desk: Desk, browser: Browser, provider: Provider
) -> None:
    context = browser.new_context(viewport={"width": 1280, "height": 900})
    watched = Watched(context.new_page())
    page = watched.page

    page.goto(f"{desk.home}wallets/wallet/")
    picture(page, "oidc-login")
    wrong = looked_at(page, "login with a provider")
    follow(page, "Sign in with Treehouse")
    expect(page.get_by_text("None of your groups has a role here. Ask an administrator.")).to_be_visible()
    picture(page, "oidc-refused")
    wrong += looked_at(page, "refused by the groups")

    provider.claims["groups"] = ["tree-ops"]
    follow(page, "Back")
    follow(page, "Sign in with Treehouse")
    expect(page.get_by_role("heading", name="Home", exact=True)).to_be_visible()
    picture(page, "home-empty")
    page.goto(f"{desk.home}sessions/")
    expect(page.get_by_text("this one")).to_be_visible()
    page.goto(f"{desk.home}oidc/callback/?code=x&state=y")
    expect(page.get_by_text("This sign-in was not begun in this browser, or took too long.")).to_be_visible()

    assert wrong == []
    # Refusals are 403 and 400, of which a browser complains.
    assert [each for each in watched.complaints if "403" not in each and "400" not in each] == []
    names: list[str] = []
    desk.meanwhile(lambda: names.extend(User.objects.values_list("username", flat=True)))
    assert names == ["nora"]
    context.close()
