"""Signing in: bounded guesses, the second factor, and sessions that are seen and ended."""

import json
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from datetime import timedelta
from io import StringIO
from typing import Any
from urllib.parse import quote

import pytest
from django.contrib import admin
from django.contrib.auth.models import Group, User
from django.core.management import CommandError, call_command
from django.db import connection, connections
from django.test import Client
from django.test.utils import CaptureQueriesContext
from django.urls import URLPattern, URLResolver, reverse
from django.utils import timezone

from config.admin import roles, second_factor, sessions
from config.admin.models import RecoveryCode, SecondFactor, Session
from config.api import throttles
from lockers import vault
from tests.concurrency.races import locked, wait_until_waiting
from tests.support.counts import forget_failures
from tests.support.desk_pages import confirm, confirmation, text_of, url
from tests.support.second_factors import code_of, set_up
from wallets.models import OperatorAction

pytestmark = pytest.mark.django_db

PASSWORD = "a long password"
LOGIN, FACTOR, HOME = "/admin/login/", "/admin/second-factor/", "/admin/"


@pytest.fixture(autouse=True)
def _no_attempt_is_counted() -> None:
    forget_failures()


@pytest.fixture
def person(db: None) -> Any:
    def make(name: str = "otto", role: Any = roles.OPERATOR) -> Any:
        roles.ensure()
        user = User.objects.create_user(name, password=PASSWORD, is_staff=True)
        user.groups.set(Group.objects.filter(name=role))
        return user

    return make


def sign_in(client: Any, name: Any, password: Any = PASSWORD, address: str = "192.0.2.1", **more: Any) -> Any:
    return client.post(LOGIN, {"username": name, "password": password, **more}, REMOTE_ADDR=address)


# --- guesses ------------------------------------------------------------------------------


@pytest.mark.parametrize("name", ["otto", "nobody at all"])
def test_guesses_are_bounded_whether_or_not_there_is_such_an_account(person: Any, name: str) -> None:
    person()
    answers = [sign_in(Client(), name, "wrong") for _ in range(throttles.FAILURES_PER_ACCOUNT + 1)]

    assert [answer.status_code for answer in answers] == [200] * throttles.FAILURES_PER_ACCOUNT + [429]
    closed = answers[-1]
    assert 0 < int(closed["Retry-After"]) <= throttles.WINDOW_SECONDS
    assert f"Too many sign-in attempts. Try again in {closed['Retry-After']} second" in text_of(closed)
    assert "script-src 'self'" in closed["Content-Security-Policy"]
    assert sign_in(Client(), name).status_code == 429
    # What is said differs in the name that was typed, and in nothing else.
    assert {text_of(answer) for answer in answers[:-1]} == {text_of(answers[0])}
    assert Session.objects.count() == 0


def test_a_session_that_gets_a_new_key_is_locked(person: Any) -> None:
    """Otherwise what ends it meanwhile would end the old key alone."""
    person()
    client = Client()
    sign_in(client, "otto")
    at_work, before = client.session, Session.objects.get().digest
    with CaptureQueriesContext(connection) as asked:
        at_work.cycle_key()

    assert any("FOR UPDATE" in each["sql"] and before.hex() in each["sql"] for each in asked)
    assert Session.objects.get().digest != before


def test_guesses_at_many_accounts_are_bounded_by_the_address(person: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(throttles, "FAILURES_PER_ADDRESS", 3)
    person()

    statuses = [sign_in(Client(), f"guess{number}", "wrong").status_code for number in range(5)]

    assert statuses == [200, 200, 200, 429, 429]
    assert sign_in(Client(), "otto").status_code == 429
    assert sign_in(Client(), "otto", address="192.0.2.9").status_code == 302


def test_passwords_are_checked_in_a_bounded_share_of_the_processor(
    person: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(throttles, "CHECKS_AT_ONCE", 1)
    monkeypatch.setattr(throttles, "_WAIT_SECONDS", 0.0)
    person()

    with throttles.login(kind="wallet", account="somebody", address="192.0.2.7"):
        refused = sign_in(Client(), "otto")

    assert refused.status_code == 429
    assert refused["Retry-After"] == "1"
    assert sign_in(Client(), "otto").status_code == 302


def test_strangers_guesses_keep_nobody_out_from_where_they_signed_in_before(person: Any) -> None:
    person()
    assert sign_in(Client(), "otto", address="198.51.100.7").status_code == 302
    assert {sign_in(Client(), "otto", "wrong").status_code for _ in range(30)} == {200, 429}

    assert sign_in(Client(), "otto", address="203.0.113.5").status_code == 429
    assert sign_in(Client(), "otto", address="198.51.100.7").status_code == 302
    # From there guesses are bounded too.
    statuses = [sign_in(Client(), "otto", "wrong", address="198.51.100.7").status_code for _ in range(11)]
    assert statuses == [200] * throttles.FAILURES_PER_ACCOUNT + [429]


def test_without_redis_each_process_counts_wrong_passwords_alone(person: Any, settings: Any) -> None:
    person()
    settings.REDIS_URL = "unix:///nowhere/at/all.sock"
    throttles._here._counts.clear()

    wrong = [sign_in(Client(), "otto", "wrong").status_code for _ in range(throttles.FAILURES_PER_ACCOUNT + 1)]
    throttles._here._counts.clear()
    right = sign_in(Client(), "otto")

    assert wrong == [200] * throttles.FAILURES_PER_ACCOUNT + [429]
    assert right.status_code == 302


@pytest.mark.parametrize("stored", ["as a wallet's", "as typed"])
@pytest.mark.parametrize("typed", ["cre\u0300me bru\u0302le\u0301e", "cr\xe8me br\xfbl\xe9e", "ｃr\xe8me br\xfbl\xe9e"])
def test_a_password_is_right_in_every_form_of_its_characters(person: Any, stored: str, typed: str) -> None:
    user = person("otto", roles.VIEWER)
    first = "cr\xe8me br\xfbl\xe9e" if stored == "as a wallet's" else typed
    if stored == "as a wallet's":
        assert sign_in(client := Client(), "otto").status_code == 302
        given = {"old": PASSWORD, "new": "cre\u0300me bru\u0302le\u0301e", "again": "cr\xe8me br\xfbl\xe9e"}
        assert client.post(reverse("admin:password_change"), given).status_code == 302
    else:
        user.set_password(first)
        user.save()

    assert sign_in(Client(), "otto", typed).status_code == 302
    assert sign_in(Client(), "otto", f"{typed}x").status_code == 200


def test_a_right_password_is_not_counted_and_empty_fields_are_no_attempt(person: Any) -> None:
    person()

    assert {sign_in(Client(), "otto").status_code for _ in range(throttles.FAILURES_PER_ACCOUNT + 2)} == {302}
    assert {sign_in(Client(), "otto", "").status_code for _ in range(throttles.FAILURES_PER_ACCOUNT + 2)} == {200}


def test_no_form_with_a_foreign_origin_is_taken(person: Any) -> None:
    person()
    strict = Client(enforce_csrf_checks=True)

    assert sign_in(strict, "otto").status_code == 403
    assert Session.objects.count() == 0


def test_the_way_on_leads_nowhere_else(person: Any) -> None:
    person()

    assert sign_in(Client(), "otto", next="https://elsewhere.example/").url == HOME
    assert sign_in(Client(), "otto", next="/admin/wallets/wallet/").url == "/admin/wallets/wallet/"


# --- the second factor --------------------------------------------------------------------


def every_address() -> Any:
    """Each URL of the desk, with something in the place of what it captures."""

    def walk(patterns: Any, prefix: Any) -> Iterator[Any]:
        for each in patterns:
            route = str(each.pattern)
            if isinstance(each, URLResolver):
                yield from walk(each.url_patterns, prefix + route)
            elif isinstance(each, URLPattern):
                for part in ("<path:object_id>", "<str:object_id>"):
                    route = route.replace(part, "1")
                route = route.replace("<uuid:proposal_id>", "00000000-0000-4000-8000-000000000000")
                yield prefix + route.replace("(?P<url>.*)$", "nowhere/")

    return list(walk(admin.site.urls[0], HOME))


def test_with_the_password_alone_nothing_is_reached_but_the_page_of_the_second_factor(
    person: Any, settings: Any
) -> None:
    settings.SECOND_FACTOR_ROLES = ["operator"]
    enrolled, _ = person("emma"), person("fred")
    set_up(enrolled)
    addresses = every_address()
    assert len(addresses) > 60
    actions = OperatorAction.objects.count()

    for name in ("emma", "fred"):
        client = Client()
        assert sign_in(client, name).status_code == 302
        for address in addresses:
            if address in (FACTOR, "/admin/logout/", LOGIN) or address.startswith("/admin/oidc/"):
                continue
            for method in ("get", "post"):
                answer = getattr(client, method)(address)
                assert (answer.status_code, answer.url) == (302, f"{FACTOR}?next={quote(address, safe='')}"), address
        assert client.get(LOGIN).url.startswith(FACTOR)
        assert client.get(FACTOR).status_code == 200
        assert b"Wallets" not in client.get(FACTOR).content
        # Posting to the page of the second factor begins nothing for a person who has one.
        if name == "emma":
            assert client.post(FACTOR, {"step": "begin", "code": "1"}).status_code == 200
            assert client.post(FACTOR, {"step": "confirm", "code": "1"}).context["mode"] == "asked"
        assert client.post("/admin/logout/").status_code in (200, 302)
        assert client.get(HOME).url.startswith(LOGIN)

    assert OperatorAction.objects.count() == actions
    assert SecondFactor.objects.count() == 1


def test_nobody_is_asked_where_no_role_must_have_one(person: Any) -> None:
    person()
    client = Client()
    sign_in(client, "otto")

    assert client.get(HOME).status_code == 200


@pytest.mark.parametrize(
    ("obliged", "role", "must"),
    [
        (["administrator"], roles.ADMINISTRATOR, True),
        (["administrator"], roles.OPERATOR, False),
        (["operator", "viewer"], roles.OPERATOR, True),
        (["operator", "viewer"], roles.ADMINISTRATOR, False),
        (["administrator"], "superuser", True),
        (["viewer"], "superuser", False),
    ],
)
def test_who_must_have_a_second_factor(person: Any, settings: Any, obliged: Any, role: Any, must: bool) -> None:
    settings.SECOND_FACTOR_ROLES = obliged
    user = User.objects.create_superuser("sue", password=PASSWORD) if role == "superuser" else person("sue", role)
    client = Client()
    sign_in(client, "sue")

    assert client.get(HOME).status_code == (302 if must else 200)
    assert second_factor.is_obligatory(user) is must


def test_one_is_set_up_with_a_code_and_its_secrets_are_shown_once(
    person: Any, settings: Any, caplog: pytest.LogCaptureFixture
) -> None:
    settings.SECOND_FACTOR_ROLES = ["operator"]
    user, client = person(), Client()
    sign_in(client, "otto")
    page = client.get(FACTOR, {"next": "/admin/wallets/wallet/"})
    secret = second_factor.Enrolment.opened(client.session["enrolling"]).secret
    shown = page.context["secret"].replace(" ", "")
    # The QR code is drawn without anything that the policy forbids.
    assert page.context["picture"].startswith("<svg")
    assert "style" not in page.context["picture"]
    assert shown not in page.context["picture"]
    assert "no-store" in page["Cache-Control"]
    # A reload shows the same one.
    assert client.get(FACTOR).context["secret"] == page.context["secret"]

    wrong = client.post(FACTOR, {"step": "confirm", "code": code_of(secret, step=9)})
    assert (wrong.status_code, SecondFactor.objects.count()) == (200, 0)
    assert "The code is not right." in text_of(wrong)
    key_before = client.cookies["sessionid"].value
    done = client.post(FACTOR, {"step": "confirm", "code": code_of(secret), "next": "/admin/wallets/wallet/"})

    codes = done.context["codes"]
    assert len(set(codes)) == second_factor.RECOVERY_CODES
    assert client.cookies["sessionid"].value != key_before
    assert client.get(HOME).status_code == 200
    # Afterwards nothing shows them: neither a page, nor a row, nor a log line.
    row = SecondFactor.objects.get(user=user)
    assert vault.open_sealed(row.secret, context=f"second factor/{row.pk}") == secret
    everything = json.dumps(
        [list(model.objects.values()) for model in (SecondFactor, RecoveryCode, Session, OperatorAction)],
        default=lambda value: bytes(value).hex() if isinstance(value, bytes | memoryview) else str(value),
    )
    pages = [client.get(address) for address in (FACTOR, "/admin/sessions/", HOME)]
    texts = [everything, repr(row), str(row), caplog.text, *(each.content.decode() for each in pages)]
    for text in texts:
        assert shown not in text
        assert secret.hex() not in text
        assert not any(code in text or code.replace("-", "") in text for code in codes)
    assert "enrolling" not in client.session
    action = OperatorAction.objects.latest("id")
    assert (action.verb, action.staff, action.object_label) == ("set_up_second_factor", user, "otto")


def test_a_code_is_good_once_and_for_its_time(person: Any) -> None:
    user, client = person(), Client()
    secret, _ = set_up(user)
    sign_in(client, "otto")

    # The code that confirmed it is used up, and so are those before.
    for code in (code_of(secret), code_of(secret, step=-1), code_of(secret, step=5), "", "12345", "abcdef", "٠١٢٣٤٥"):
        refused = client.post(FACTOR, {"code": code})
        assert (refused.status_code, refused.context["mode"]) == (200, "asked"), code
        SecondFactor.objects.update(failures=0)
    later = code_of(secret, step=1)
    assert client.post(FACTOR, {"code": f" {later[:3]} {later[3:]} ", "next": "/admin/lockers/coin/"}).url == (
        "/admin/lockers/coin/"
    )
    assert client.get(HOME).status_code == 200

    other = Client()
    sign_in(other, "otto")
    assert other.post(FACTOR, {"code": later}).context["mode"] == "asked"
    assert other.get(HOME).status_code == 302


@pytest.mark.django_db(transaction=True)
def test_a_code_that_is_sent_twice_at_once_lets_one_in(person: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    # Otherwise, on a machine with two processors, codes are checked one after the other.
    monkeypatch.setattr(throttles, "CHECKS_AT_ONCE", 2)
    user = person()
    secret, codes = set_up(user)
    for code in (code_of(secret, step=1), codes[0]):
        clients = [Client(), Client()]
        for client in clients:
            sign_in(client, "otto")

        def send(client: Any, code: Any = code) -> Any:
            try:
                return client.post(FACTOR, {"code": code}).status_code
            finally:
                connections.close_all()

        with ThreadPoolExecutor(2) as pool:
            with locked("SELECT FROM desk_secondfactor FOR UPDATE", []):
                sent = [pool.submit(send, client) for client in clients]
                # Neither request has read what the other one will change.
                wait_until_waiting(2)
            assert sorted(each.result(timeout=60) for each in sent) == [200, 302]


def test_a_recovery_code_stands_in_once(person: Any) -> None:
    user = person()
    _, codes = set_up(user)
    first, second = Client(), Client()
    sign_in(first, "otto")
    sign_in(second, "otto")

    assert first.post(FACTOR, {"code": codes[3].upper()}).status_code == 302
    assert second.post(FACTOR, {"code": codes[3]}).status_code == 200
    assert second.get(HOME).status_code == 302
    assert second.post(FACTOR, {"code": codes[4].replace("-", "")}).status_code == 302
    assert "recovery codes left 8" in text_of(second.get(FACTOR))
    assert RecoveryCode.objects.exclude(used_at=None).count() == 2
    # Those of another person are worth nothing.
    _, others = set_up(person("emma"))
    third = Client()
    sign_in(third, "otto")
    assert third.post(FACTOR, {"code": others[0]}).status_code == 200


def test_guesses_at_codes_are_counted_with_those_at_passwords_and_make_the_next_wait(person: Any) -> None:
    user, client = person(), Client(REMOTE_ADDR="192.0.2.1")
    _, codes = set_up(user)
    sign_in(client, "otto")

    statuses = [client.post(FACTOR, {"code": "000000"}).status_code for _ in range(6)]
    assert statuses == [200] * 5 + [429]
    waiting = client.post(FACTOR, {"code": codes[0]})
    assert waiting.status_code == 429
    assert "Too many wrong codes. Try again in 1 second" in text_of(waiting)
    # The longest wait is an hour, however many guesses there were.
    SecondFactor.objects.update(failures=10_000, failed_at=timezone.now())
    assert 3590 < int(client.post(FACTOR, {"code": codes[0]})["Retry-After"]) <= 3601
    SecondFactor.objects.update(failed_at=timezone.now() - timedelta(hours=1))
    assert client.post(FACTOR, {"code": codes[0]}).status_code == 302
    assert SecondFactor.objects.get().failures == 0
    # Five codes and five passwords are ten attempts.
    statuses = [sign_in(Client(), "otto", "wrong").status_code for _ in range(6)]
    assert statuses == [200] * 5 + [429]


def test_a_new_one_takes_a_code_of_the_old_and_ends_it(person: Any) -> None:
    user, client = person(), Client()
    _, codes = set_up(user)
    sign_in(client, "otto")
    client.post(FACTOR, {"code": codes[0]})
    other = Client()
    sign_in(other, "otto")
    other.post(FACTOR, {"code": codes[1]})

    assert client.post(FACTOR, {"step": "begin", "code": "000000"}).context["mode"] == "told"
    assert client.post(FACTOR, {"step": "confirm", "code": "000000"}).context["mode"] == "told"
    assert client.post(FACTOR, {"step": "begin", "code": codes[2]}).status_code == 302
    secret = second_factor.Enrolment.opened(client.session["enrolling"]).secret
    done = client.post(FACTOR, {"step": "confirm", "code": code_of(secret)})

    assert done.context["mode"] == "codes"
    assert client.get(HOME).status_code == 200
    # The session that had passed the old one is asked for a code of the new one.
    assert other.get(HOME).url.startswith(FACTOR)
    assert other.post(FACTOR, {"code": codes[5]}).status_code == 200
    assert other.post(FACTOR, {"code": done.context["codes"][0]}).status_code == 302
    assert SecondFactor.objects.count() == 1


def test_the_command_resets_a_superusers_second_factor_and_ends_the_sessions(staff: User) -> None:
    _, codes = set_up(staff)
    client = Client()
    sign_in(client, "olivia")
    client.post(FACTOR, {"code": codes[0]})
    assert client.get(HOME).status_code == 200

    said = StringIO()
    call_command("reset_second_factor", "olivia", stdout=said)

    assert said.getvalue() == "The second factor of olivia is removed; sessions ended: 1.\n"
    assert SecondFactor.objects.count() == RecoveryCode.objects.count() == Session.objects.count() == 0
    assert client.get(HOME).url.startswith(LOGIN)
    with pytest.raises(CommandError, match="no second factor"):
        call_command("reset_second_factor", "olivia")
    with pytest.raises(CommandError, match="No person"):
        call_command("reset_second_factor", "nobody")


# --- sessions -----------------------------------------------------------------------------


def test_own_sessions_are_seen_and_ended_and_keys_are_nowhere(person: Any) -> None:
    user = person()
    here, there = Client(HTTP_USER_AGENT="Mozilla/5.0 (X11; Linux x86_64) Firefox/128.0"), Client()
    sign_in(here, "otto", address="192.0.2.1")
    sign_in(there, "otto", address="2001:db8::7")
    key = here.cookies["sessionid"].value
    page = here.get("/admin/sessions/")

    assert [(row.address, row.pk == page.context["current"]) for row in page.context["sessions"]] == [
        ("2001:db8::7", False), ("192.0.2.1", True),
    ]  # fmt: skip
    assert "Firefox on Linux this one 192.0.2.1" in text_of(page)
    assert key not in page.content.decode()
    assert key not in str(list(Session.objects.values()))
    row = Session.objects.get(address="2001:db8::7")
    answer = confirm(here, url("end-session", row), reason="not me")

    assert (answer.status_code, answer.url) == (302, "/admin/sessions/")
    assert there.get(HOME).url.startswith(LOGIN)
    assert here.get(HOME).status_code == 200
    action = OperatorAction.objects.latest("id")
    assert (action.verb, action.object_id, action.reason) == ("ended_sessions", str(user.pk), "not me")
    assert key not in str(list(OperatorAction.objects.values()))
    assert here.get(url("end-session", row)).status_code == 404
    # All of them, this one too.
    confirm(here, url("end-sessions", user))
    assert Session.objects.count() == 0
    assert here.get(HOME).url.startswith(LOGIN)


def test_sessions_of_others_are_ended_by_administrators_only(person: Any, staff: User) -> None:
    victim, operator, administrator = person("vic"), person("otto"), person("ada", roles.ADMINISTRATOR)
    clients = {user.username: Client() for user in (victim, operator, administrator, staff)}
    for name, client in clients.items():
        sign_in(client, name)
    of = {user.username: Session.objects.get(user=user) for user in (victim, administrator, staff)}

    for name in ("vic", "ada", "olivia"):
        for address in (url("end-session", of[name]), url("end-sessions", of[name].user)):
            assert clients["otto"].get(address).status_code == 403
            assert clients["otto"].post(address, {"step": "confirm", "ticket": "forged"}).status_code == 403
    assert clients["ada"].get(url("end-session", of["olivia"])).status_code == 409
    assert clients["ada"].get(url("end-sessions", staff)).status_code == 409
    assert Session.objects.count() == 4
    answer = confirm(clients["ada"], url("end-session", of["vic"]))

    assert answer.url == reverse("admin:auth_user_change", args=[victim.pk])
    assert clients["vic"].get(HOME).url.startswith(LOGIN)
    assert set(Session.objects.values_list("user__username", flat=True)) == {"otto", "ada", "olivia"}
    assert OperatorAction.objects.get().staff == administrator


def test_a_session_ends_after_its_time_and_when_it_is_not_used(person: Any, settings: Any) -> None:
    user, client = person(), Client()
    sign_in(client, "otto")
    now = timezone.now()

    Session.objects.update(last_used_at=now - timedelta(seconds=settings.SESSION_IDLE_SECONDS - 5))
    assert client.get("/admin/live/").status_code == 200
    # What asks by itself is no use of it; a page is.
    assert Session.objects.get().last_used_at < now - timedelta(minutes=10)
    assert client.get(HOME).status_code == 200
    assert Session.objects.get().last_used_at >= now
    Session.objects.update(last_used_at=now - timedelta(seconds=settings.SESSION_IDLE_SECONDS + 1))
    assert client.get(HOME).url.startswith(LOGIN)
    assert list(sessions.of_person(user)) == []

    sign_in(client, "otto")
    row = Session.objects.get()
    assert row.expires_at - row.created_at == timedelta(seconds=settings.SESSION_COOKIE_AGE)
    Session.objects.update(expires_at=now)
    assert client.get(HOME).url.startswith(LOGIN)
    # The next login removes what ran out.
    sign_in(client, "otto")
    assert Session.objects.count() == 1


def test_a_session_that_is_ended_is_not_begun_again_by_what_was_at_work(person: Any) -> None:
    person()
    client = Client()
    sign_in(client, "otto")
    at_work = client.session
    assert at_work["address"] == "192.0.2.1"
    Session.objects.all().delete()

    at_work["more"] = "yes"
    with pytest.raises(sessions.UpdateError):
        at_work.save()
    with pytest.raises(sessions.SessionInterrupted):
        at_work.cycle_key()

    assert Session.objects.count() == 0


def test_a_new_own_password_ends_the_other_sessions(person: Any) -> None:
    user, here, there = person(), Client(), Client()
    sign_in(here, "otto")
    sign_in(there, "otto")
    address = "/admin/password_change/"
    new = "quite another one"

    for old, first, second, said in [
        ("wrong", new, new, "This is not your password."),
        (PASSWORD, new, "else", "The two passwords differ."),
        (PASSWORD, "short", "short", "at least 12 characters"),
        (PASSWORD, "password1234", "password1234", "too common"),
    ]:
        refused = here.post(address, {"old": old, "new": first, "again": second})
        assert refused.status_code == 200
        assert said in text_of(refused)
        assert new not in refused.content.decode()
    user.refresh_from_db()
    assert user.check_password(PASSWORD)
    assert Session.objects.count() == 2
    answer = here.post(address, {"old": PASSWORD, "new": new, "again": new})

    assert (answer.status_code, answer.url) == (302, "/admin/sessions/")
    assert here.get(HOME).status_code == 200
    assert there.get(HOME).url.startswith(LOGIN)
    assert sign_in(Client(), "otto").status_code == 200
    assert sign_in(Client(), "otto", new).status_code == 302
    action = OperatorAction.objects.get()
    assert (action.verb, action.after) == ("changed_own_password", {"password": "a new one", "sessions_ended": 1})


def test_guesses_at_the_own_password_are_counted(person: Any) -> None:
    person()
    client = Client()
    sign_in(client, "otto")
    body = {"old": "wrong", "new": "quite another one", "again": "quite another one"}

    statuses = [client.post("/admin/password_change/", body).status_code for _ in range(11)]

    assert statuses == [200] * 10 + [429]


def test_what_a_role_loses_is_lost_on_the_next_page(person: Any) -> None:
    user, client = person("ada", roles.ADMINISTRATOR), Client()
    sign_in(client, "ada")
    address = url("create-wallet")
    sent, _ = confirmation(client, address, name="birch")

    user.groups.set(Group.objects.filter(name=roles.VIEWER))

    assert client.post(address, {**sent, "reason": "as asked"}).status_code == 403
    assert client.get(address).status_code == 403
    User.objects.update(is_active=False)
    assert client.get(HOME).url.startswith(LOGIN)
