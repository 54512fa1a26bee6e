"""Signing in with a second factor, the own sessions, and the accounts of people, by clicks and under the policy."""

import time
from base64 import b32decode, b32encode
from collections.abc import Iterator
from contextlib import suppress
from typing import Any

import pytest
from django.contrib.auth.models import Group, User
from django.core.management import call_command
from django_otp.oath import TOTP
from playwright.sync_api import Browser, Page, expect

from config.admin import roles, second_factor
from config.api import throttles
from tests.api.web_server import web_server
from tests.browser.clicks import follow, press
from tests.browser.pictures import picture
from tests.browser.watched import Watched
from tests.support.counts import forget_failures
from tests.support.desk_in_chromium import PASSWORD, Desk, assert_clean, looked_at
from tests.support.desk_walks import BY_ADA, BY_OTTO, WALKED
from wallets.errors import InvalidCredentials
from wallets.models import OperatorAction
from wallets.states import OperatorVerb


@pytest.fixture(scope="module")
def desk(django_db_setup: None, django_db_blocker: Any) -> Iterator[Desk]:
    """A desk with an administrator and with an operator, who must have a second factor."""
    forget_failures()
    with django_db_blocker.unblock():
        roles.ensure()
        for name, role in (("ada", roles.ADMINISTRATOR), ("otto", roles.OPERATOR), ("pia", roles.VIEWER)):
            User.objects.create_user(name, password=PASSWORD, is_staff=True).groups.set([Group.objects.get(name=role)])
        enrolment = second_factor.Enrolment.begin()
        second_factor.confirm(
            User.objects.get(username="pia"), enrolment, code_of(b32encode(enrolment.secret).decode())
        )
        with web_server({"COPPICE_SECOND_FACTOR": "operator"}) as address:
            yield Desk(address, None)
        call_command("flush", interactive=False, verbosity=0)


def sign_in(page: Page, desk: Desk, name: str) -> None:
    page.goto(desk.home)
    page.get_by_label("Username").fill(name)
    page.get_by_label("Password").fill(PASSWORD)
    press(page, "Log in", exact=False)


def confirm(page: Page, button: str) -> None:
    page.get_by_label("Reason").fill("as asked")
    press(page, button)


def assert_no_complaint(watched: Watched, desk: Desk) -> None:
    # A page that is left at once cuts the request for its icon.
    watched.complaints = [each for each in watched.complaints if "favicon.svg net::ERR_ABORTED" not in each]
    assert_clean(watched, desk)


def code_of(secret: str, step: int = 0) -> str:
    totp = TOTP(b32decode(secret.replace(" ", "")))
    totp.time = time.time() + 30 * step
    return f"{totp.token():06}"


def log_of(desk: Desk, name: str) -> list[str]:
    log: list[str] = []
    by = OperatorAction.objects.filter(staff__username=name).order_by("id")
    desk.meanwhile(lambda: log.extend(by.values_list("verb", flat=True)))
    return log


# The mark has the database created, which the fixtures fill for the whole module.
@pytest.mark.django_db
def test_what_is_walked_are_acts() -> None:
    assert set(WALKED) <= set(OperatorVerb.values)


def test_an_operator_sets_a_second_factor_up_and_ends_a_session(desk: Desk, browser: Browser) -> None:
    wrong: list[str] = []
    context = browser.new_context(viewport={"width": 1280, "height": 900})
    watched = Watched(context.new_page())
    page = watched.page

    def look(name: str) -> None:
        picture(page, name)
        wrong.extend(looked_at(page, name))
        page.set_viewport_size({"width": 1280, "height": 900})

    # The first time the second factor is set up, from what the page shows.
    page.goto(desk.home)
    picture(page, "login")
    sign_in(page, desk, "otto")
    expect(page.get_by_role("heading", name="Set up a second factor")).to_be_visible()
    picture(page, "set-up")
    box = page.locator("svg.qr").bounding_box()
    assert box is not None
    assert box["width"] > 150
    secret = page.locator("code.secret").inner_text()
    page.get_by_role("textbox", name="Code").fill(code_of(secret))
    press(page, "Confirm", exact=False)
    expect(page.get_by_role("heading", name="Shown only once")).to_be_visible()
    look("recovery-codes")
    assert page.locator(".codes li").count() == 10
    recovery = page.locator(".codes li").first.inner_text()
    follow(page, "I have kept them", exact=False)
    expect(page.get_by_role("heading", name="Home", exact=True)).to_be_visible()
    press(page, "Log out", exact=False)
    expect(page.get_by_role("link", name="Log in again")).to_be_visible()

    # From then on it is asked for.
    sign_in(page, desk, "otto")
    expect(page.get_by_role("heading", name="One more step")).to_be_visible()
    page.get_by_role("textbox", name="Code").fill("000 000")
    press(page, "Go on", exact=False)
    expect(page.get_by_text("The code is wrong or was already used.")).to_be_visible()
    look("code")
    page.get_by_role("textbox", name="Code").fill(code_of(secret, step=1))
    press(page, "Go on", exact=False)
    expect(page.get_by_role("heading", name="Home", exact=True)).to_be_visible()
    follow(page, "Second factor")
    expect(page.get_by_role("row", name="recovery codes left 10")).to_be_visible()
    picture(page, "second-factor")
    assert_no_complaint(watched, desk)

    # Another browser of the same person, which ends this one.
    other_context = browser.new_context(viewport={"width": 1280, "height": 900})
    other = other_context.new_page()
    sign_in(other, desk, "otto")
    other.get_by_role("textbox", name="Code").fill(recovery)
    press(other, "Go on", exact=False)
    follow(other, "Sessions")
    expect(other.locator(".rows tbody tr")).to_have_count(2)
    picture(other, "sessions")
    other.locator("tr", has_not=other.get_by_text("this one")).get_by_role("link", name="End", exact=True).click()
    confirm(other, "End the session")
    expect(other.locator(".rows tbody tr")).to_have_count(1)
    page.goto(desk.home)
    expect(page.get_by_role("button", name="Log in")).to_be_visible()

    assert wrong == []
    assert log_of(desk, "otto") == BY_OTTO
    other_context.close()
    context.close()


def test_an_administrator_manages_people(desk: Desk, browser: Browser) -> None:
    context = browser.new_context(viewport={"width": 1280, "height": 900})
    watched = Watched(context.new_page())
    page = watched.page
    sign_in(page, desk, "ada")
    follow(page, "people")
    picture(page, "people")
    follow(page, "Create an account", exact=False)
    picture(page, "create-person")
    page.get_by_label("Name").fill("nora")
    page.get_by_label("Mail address").fill("nora@example.org")
    page.get_by_label("viewer:").check()
    press(page, "Review what will happen", exact=False)
    confirm(page, "Create the account")
    expect(page.get_by_role("heading", name="Shown only once")).to_be_visible()
    follow(page, "I have copied it", exact=False)

    def act(link: str, button: str, **answers: str) -> None:
        follow(page, link)
        for label, answer in answers.items():
            field = page.get_by_label(label)
            field.fill(answer) if label == "Mail" else page.get_by_label(answer).check()
        if answers:
            press(page, "Review what will happen", exact=False)
        confirm(page, button)

    act("Change the role", "Change the role", role="operator:")
    act("Change the mail address", "Change it", Mail="n@example.org")
    act("Deactivate", "Change it", active="no:")
    act("Activate", "Change it", active="yes:")
    follow(page, "people")
    follow(page, "pia")
    picture(page, "person")
    act("Reset the second factor", "Reset it")
    expect(page.get_by_role("row", name="second factor none")).to_be_visible()
    act("Set a new password", "Set a new password")
    follow(page, "I have copied it", exact=False)
    follow(page, "Sessions")
    follow(page, "End all sessions", exact=False)
    confirm(page, "End them")
    expect(page.get_by_role("button", name="Log in")).to_be_visible()
    sign_in(page, desk, "ada")
    follow(page, "Change password")
    page.get_by_label("Current password").fill(PASSWORD)
    page.get_by_label("New password:", exact=True).fill("quite another one")
    page.get_by_label("Repeat the new password").fill("quite another one")
    picture(page, "password")
    press(page, "Change the password", exact=False)
    expect(page.get_by_text("Your password was changed.")).to_be_visible()

    assert_no_complaint(watched, desk)
    assert log_of(desk, "ada") == BY_ADA
    context.close()


def test_after_too_many_attempts_the_page_says_when_to_try_again(desk: Desk, browser: Browser) -> None:
    def fail_until_the_next_is_too_many() -> None:
        for _ in range(throttles.FAILURES_PER_ACCOUNT):
            with suppress(InvalidCredentials), throttles.login(kind="desk", account="unknown person", address="::1"):
                raise InvalidCredentials

    # At once: they count for a minute, in which a busy machine may not show that many pages.
    desk.meanwhile(fail_until_the_next_is_too_many)
    context = browser.new_context(viewport={"width": 1280, "height": 900})
    page = context.new_page()
    page.goto(desk.home)
    page.get_by_label("Username").fill("unknown person")
    page.get_by_label("Password").fill("wrong")
    press(page, "Log in", exact=False)

    expect(page.get_by_role("alert")).to_contain_text("Too many sign-in attempts. Try again in")
    picture(page, "too-many")
    assert looked_at(page, "too many attempts") == []
    forget_failures()
    context.close()
