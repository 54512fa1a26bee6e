"""Accounts of people: what each role reaches, and that no account gets a role that an administrator did not give."""

import threading
from collections.abc import Iterator
from typing import Any

import pytest
from django.contrib import admin
from django.contrib.auth.models import Group, Permission, User
from django.db import connection, connections
from django.test import Client
from django.urls import URLPattern, URLResolver, reverse

from config.admin import people, roles
from config.admin.actions import registry
from config.admin.actions.people import ChangeMail, ChangeRole
from config.admin.models import SecondFactor, Session
from tests.admin.running import run
from tests.support.desk_pages import confirm, confirmation, text_of, url
from tests.support.second_factors import set_up
from wallets import errors
from wallets.models import OperatorAction
from wallets.operator_log import Operator

pytestmark = pytest.mark.django_db

OTHERS = {
    "change-role": {"role": "administrator"},
    "change-mail": {"mail": "evil@example.org"},
    "change-active": {"active": "no"},
    "set-person-password": {},
    "reset-second-factor": {},
    "end-sessions": {},
}


@pytest.fixture
def crew(db: None) -> Any:
    """A client of each role, a superuser's among them, and a second administrator, operator and viewer."""
    roles.ensure()
    clients = {}
    for role in (*roles.ROLES, "other " + roles.ADMINISTRATOR, "other " + roles.OPERATOR, "other " + roles.VIEWER):
        user = User.objects.create_user(role.replace(" ", "-"), password="a long password", is_staff=True)
        user.groups.set([Group.objects.get(name=role.removeprefix("other "))])
        clients[role] = Client()
        clients[role].force_login(user)
    root = User.objects.create_superuser("root", password="a long password")
    clients["superuser"] = Client()
    clients["superuser"].force_login(root)
    return clients


def named(name: Any) -> Any:
    return User.objects.get(username=name.replace(" ", "-"))


def accounts() -> Any:
    """All that decides what a person may do and how the person signs in."""
    tables = ("auth_user", "auth_user_groups", "auth_user_user_permissions", "auth_group_permissions", "auth_group",
              "desk_secondfactor", "desk_recoverycode", "wallets_operatoraction")  # fmt: skip
    with connection.cursor() as cursor:
        found = {}
        for table in tables:
            cursor.execute(f"SELECT each::text FROM {table} AS each ORDER BY 1")
            found[table] = cursor.fetchall()
    return found


# --- what there is ------------------------------------------------------------------------

# Every address of the desk that is not of the ledger's lists and acts, and what a GET of it and a POST without a form
# answer: to a viewer, an operator, an administrator, a superuser.
SEEN, ONLY_READ = (200,) * 4, (405,) * 4
# These do not exist for every person.
NONE = (404,) * 2
TABLE = {
    "": (SEEN, SEEN),
    "live/": (SEEN, ONLY_READ),
    "login/": ((302,) * 4, SEEN),
    "sessions/": (SEEN, ONLY_READ),
    # Without a term it answers with the empty search.
    "find/": (SEEN, SEEN),
    "desk/request/": (SEEN, ONLY_READ),
    "desk/request/csv/": (SEEN, ONLY_READ),
    # There is none with such an id.
    "desk/request/ID/change/": ((404,) * 4, ONLY_READ),
    "tiles/": (SEEN, ONLY_READ),
    "reports/wallets/": (SEEN, ONLY_READ),
    "reports/managers/": (SEEN, ONLY_READ),
    "reports/months/": (SEEN, ONLY_READ),
    "reports/coins/": (SEEN, ONLY_READ),
    "proposals/": (SEEN, ONLY_READ),
    "desk/alert/": (SEEN, ONLY_READ),
    "desk/alert/csv/": (SEEN, ONLY_READ),
    # There are none with such an id.
    "reports/wallet/ID/": ((404,) * 4, ONLY_READ),
    "desk/alert/ID/change/": ((404,) * 4, ONLY_READ),
    "proposals/00000000-0000-0000-0000-000000000000/": ((404,) * 4, (404,) * 4),
    "acts/acknowledge-alert/ID/": ((403, 404, 404, 404), (403, 404, 404, 404)),
    # There is no provider.
    "oidc/": ((404,) * 4, ONLY_READ),
    "oidc/callback/": ((404,) * 4, ONLY_READ),
    "second-factor/": (SEEN, SEEN),
    "password_change/": (SEEN, SEEN),
    "auth/user/": ((403, 403, 200, 200), ONLY_READ),
    "auth/user/csv/": ((403, 403, 200, 200), ONLY_READ),
    "auth/user/ID/change/": ((403, 403, 200, 200), ONLY_READ),
    "acts/create-person/": ((403, 403, 200, 200), (403, 403, 200, 200)),
    "acts/change-role/ID/": ((403, 403, 200, 200), (403, 403, 200, 200)),
    "acts/change-mail/ID/": ((403, 403, 200, 200), (403, 403, 200, 200)),
    "acts/change-active/ID/": ((403, 403, 200, 200), (403, 403, 200, 200)),
    "acts/set-person-password/ID/": ((403, 403, 200, 200), (403, 403, 200, 200)),
    # There is no second factor to reset.
    "acts/reset-second-factor/ID/": ((403, 403, 409, 409), (403, 403, 409, 409)),
    "acts/end-sessions/ID/": ((403, 403, 200, 200), (403, 403, 200, 200)),
    "acts/end-session/ID/": ((403, 403, 200, 200), (403, 403, 200, 200)),
    # Django's own, of which none is left.
    "auth/": (NONE, NONE),
    "auth/user/add/": (NONE, NONE),
    "auth/user/ID/": (NONE, NONE),
    "auth/user/ID/password/": (NONE, NONE),
    "auth/user/ID/delete/": (NONE, NONE),
    "auth/user/ID/history/": (NONE, NONE),
    "auth/group/": (NONE, NONE),
    "auth/group/add/": (NONE, NONE),
    "auth/group/1/change/": (NONE, NONE),
    "auth/permission/": (NONE, NONE),
    "desk/": (NONE, NONE),
    "desk/session/": (NONE, NONE),
    "desk/secondfactor/": (NONE, NONE),
    "otp_totp/totpdevice/": (NONE, NONE),
    "password_change/done/": (NONE, NONE),
    "autocomplete/": (NONE, NONE),
    "jsi18n/": (NONE, NONE),
    "r/1/1/": (NONE, NONE),
    "sessions/session/": (NONE, NONE),
}


def test_every_address_of_the_desk_is_in_a_table_and_answers_as_it_says(crew: Any) -> None:
    def walk(patterns: Any, prefix: Any) -> Iterator[Any]:
        for each in patterns:
            if isinstance(each, URLResolver):
                yield from walk(each.url_patterns, prefix + str(each.pattern))
            elif isinstance(each, URLPattern):
                yield prefix + str(each.pattern)

    ledger = {"wallets", "trusts", "transfers", "lockers", "webhooks"}
    acts_on_ledger = {deed.name for deed in registry.ALL if deed.app in {"wallets", "webhooks"}}
    there = set()
    for route in walk(admin.site.urls[0], ""):
        first, _, rest = route.partition("/")
        if first in ledger or (first == "acts" and rest.split("/")[0] in {*acts_on_ledger, "many"}):
            continue  # `test_every_page_and_every_act_by_every_role` has these.
        address = route.replace("<path:object_id>", "ID").replace("<str:object_id>", "ID")
        there.add(address.replace("<uuid:proposal_id>", "00000000-0000-0000-0000-000000000000"))

    assert there - {"logout/", "(?P<url>.*)$"} == {each for each, wanted in TABLE.items() if wanted[0] != NONE}
    target = named("other viewer")
    session = Session.objects.get(user=target)
    before, answers = accounts(), {}
    for address, (wanted, _) in TABLE.items():
        path = "/admin/" + address.replace("ID", str(session.pk if "end-session/" in address else target.pk))
        clients = [crew[role] for role in (*roles.ROLES, "superuser")][-len(wanted) :]
        got, sent = ([getattr(client, how)(path).status_code for client in clients] for how in ("get", "post"))
        answers[address] = (tuple(got), tuple(sent))

    assert answers == TABLE
    assert accounts() == before


# --- what is done -------------------------------------------------------------------------


def test_a_person_is_created_with_a_role_and_a_password_that_is_shown_once(crew: Any) -> None:
    client = crew[roles.ADMINISTRATOR]
    _, said = confirmation(client, url("create-person"), name="nora", mail="nora@example.org", role=roles.OPERATOR)
    assert said[0].startswith("1 new account, nora, with the role operator: see everything and act on")
    assert not User.objects.filter(username="nora").exists()

    page = confirm(client, url("create-person"), name="nora", mail="nora@example.org", role=roles.OPERATOR)

    password = dict(page.context["done"].secrets)["Password"]
    nora = User.objects.get(username="nora")
    assert (nora.email, nora.is_staff, nora.is_superuser, people.role_of(nora)) == (
        "nora@example.org", True, False, roles.OPERATOR,
    )  # fmt: skip
    assert nora.check_password(password)
    action = OperatorAction.objects.get()
    assert (action.verb, action.object_label, action.staff.username, action.reason, action.after) == (
        "created_person", "nora", "administrator", "because",
        {"mail": "nora@example.org", "role": "operator", "active": True},
    )  # fmt: skip
    assert password not in str(OperatorAction.objects.values())
    for name, sentence in [
        ("Nora", "already a person of this name"),
        ("n o", "Enter a valid username"),
        ("", "required"),
    ]:
        refused = client.post(url("create-person"), {"step": "review", "name": name, "role": roles.VIEWER})
        assert sentence in text_of(refused), name
    wrong = client.post(url("create-person"), {"step": "review", "name": "x", "role": "superuser", "mail": "no"})
    assert "superuser is not one of the available choices" in text_of(wrong)
    assert "Enter a valid email address" in text_of(wrong)
    assert User.objects.count() == 8


def test_each_change_of_a_person_is_done_logged_and_ends_what_it_must(crew: Any) -> None:
    client, target = crew[roles.ADMINISTRATOR], named("other operator")
    theirs = crew["other operator"]
    address = reverse("admin:auth_user_change", args=[target.pk])
    set_up(target)
    # With a second factor the session that has not passed it waits.
    assert theirs.get("/admin/").status_code == 302

    assert confirm(client, url("reset-second-factor", target)).url == address
    assert SecondFactor.objects.count() == 0
    assert not Session.objects.filter(user=target).exists()
    theirs.force_login(target)
    # A right that was given by hand beside the role is lost with it.
    target.user_permissions.add(Permission.objects.get(codename="act_create_wallet"))
    assert confirm(client, url("change-role", target), role=roles.VIEWER).url == address
    assert people.role_of(target) == roles.VIEWER
    assert theirs.get("/admin/").status_code == 200
    assert theirs.get(url("create-wallet")).status_code == 403
    confirm(client, url("change-mail", target), mail="o@example.org")
    client.get("/admin/")
    confirm(client, url("change-active", target), active="no")
    # The name as it is, also as the first word.
    assert f">{target.username} is no longer active.</li>" in client.get("/admin/").content.decode()
    assert theirs.get("/admin/").status_code == 302
    confirm(client, url("change-active", target), active="yes")
    target.refresh_from_db()
    assert (target.email, target.is_active, people.role_of(target)) == ("o@example.org", True, roles.VIEWER)
    theirs.force_login(target)
    page = confirm(client, url("set-person-password", target))
    password = dict(page.context["done"].secrets)["Password"]
    assert theirs.get("/admin/").status_code == 302
    assert not Session.objects.filter(user=target).exists()
    target.refresh_from_db()
    assert target.check_password(password)
    theirs.force_login(target)
    assert confirm(client, url("end-sessions", target)).url == address

    log = [(each.verb, each.object_label, each.after) for each in OperatorAction.objects.order_by("id")]
    assert log == [
        ("reset_second_factor", "other-operator", {"second_factor": False, "sessions_ended": 1}),
        ("changed_role", "other-operator", {"role": "viewer"}),
        ("changed_mail", "other-operator", {"mail": "o@example.org"}),
        ("deactivated_person", "other-operator", {"active": False, "sessions_ended": 1}),
        ("activated_person", "other-operator", {"active": True, "sessions_ended": 0}),
        ("set_person_password", "other-operator", {"password": "a new one", "sessions_ended": 1}),
        ("ended_sessions", "other-operator", {"sessions_ended": 1}),
    ]
    assert password not in str(OperatorAction.objects.values())
    shown = text_of(client.get(address))
    assert "administrator set the password of an account" in shown
    assert "No session is open." in shown


def test_what_is_so_already_is_refused_and_changes_nothing(crew: Any) -> None:
    client, target = crew[roles.ADMINISTRATOR], named("other operator")
    Session.objects.filter(user=target).delete()
    before = accounts()

    assert confirm(client, url("change-role", target), role=roles.OPERATOR).status_code == 409
    assert confirm(client, url("change-active", target), active="yes").status_code == 409
    assert client.get(url("reset-second-factor", target)).status_code == 409
    assert client.get(url("end-sessions", target)).status_code == 409
    assert accounts() == before


# --- no one gains rights ------------------------------------------------------------------


@pytest.mark.parametrize(
    ("who", "whom"),
    [
        (roles.ADMINISTRATOR, "root"),
        (roles.ADMINISTRATOR, "administrator"),
        ("superuser", "root"),
        (roles.OPERATOR, "other viewer"),
        (roles.OPERATOR, "operator"),
        (roles.VIEWER, "viewer"),
        (roles.VIEWER, "root"),
    ],
)
def test_nobody_acts_on_a_superuser_on_themselves_or_without_the_role(crew: Any, who: Any, whom: str) -> None:
    client, target = crew[who], named(whom)
    set_up(target) if target.username not in who and whom != "root" else None
    before = accounts()
    own = target.pk == int(client.session["_auth_user_id"])

    for name, answers in OTHERS.items():
        if name == "end-sessions" and own:
            continue
        for body in ({"step": "review", **answers}, {"step": "confirm", "ticket": "forged", **answers}):
            answer = client.post(url(name, target), body)
            assert answer.status_code in (403, 409), (name, body)
            assert not answer.context or not answer.context.get("ticket"), name
    assert accounts() == before


def test_a_confirmation_made_for_another_account_is_worth_nothing(crew: Any) -> None:
    client, root, viewer = crew[roles.ADMINISTRATOR], named("root"), named("other viewer")
    before = accounts()

    for name, answers in OTHERS.items():
        if name == "reset-second-factor":
            continue
        sent, _ = confirmation(client, url(name, viewer), **answers)
        refused = client.post(url(name, root), {**sent, "reason": "as asked"})
        assert refused.status_code == 409, name
    assert accounts() == before


def test_no_field_that_somebody_adds_to_a_form_gives_a_right(crew: Any) -> None:
    client, target = crew[roles.ADMINISTRATOR], named("other viewer")
    more = {
        "is_superuser": "on", "superuser": "on", "groups": "1", "user_permissions": "1", "is_staff": "on",
        "password": "x", "username": "root2", "id": str(named("root").pk), "pk": "1",
    }  # fmt: skip

    sent, _ = confirmation(client, url("create-person"), name="nora", role=roles.VIEWER, **more)
    client.post(url("create-person"), {**sent, **more, "reason": "as asked"})
    sent, _ = confirmation(client, url("change-role", target), role=roles.OPERATOR, **more)
    client.post(url("change-role", target), {**sent, **more, "reason": "as asked"})
    for path in ("auth/user/", f"auth/user/{target.pk}/change/", "auth/user/add/", "auth/group/1/change/"):
        client.post(f"/admin/{path}", {**more, "_save": "Save"})

    assert set(User.objects.filter(is_superuser=True).values_list("username", flat=True)) == {"root"}
    assert people.role_of(User.objects.get(username="nora")) == roles.VIEWER
    assert people.role_of(target) == roles.OPERATOR
    assert not Permission.objects.filter(user__isnull=False).exists()
    assert Group.objects.count() == 3


def test_nobody_grants_a_right_or_touches_somebody_with_rights_that_they_lack(crew: Any) -> None:
    """A person with an operator's role and the permissions to manage people, as an installation may grant by hand."""
    client, user = crew[roles.OPERATOR], named("operator")
    managing = [name.removeprefix("desk.") for name in roles.ROLES[roles.ADMINISTRATOR] if name.startswith("desk.")]
    user.user_permissions.set(Permission.objects.filter(codename__in=managing))
    assert people.role_of(user) == "operator, single permissions"
    before = accounts()

    granted = confirm(client, url("create-person"), name="nora", role=roles.ADMINISTRATOR)
    raised = confirm(client, url("change-role", named("other viewer")), role=roles.ADMINISTRATOR)
    taken = client.post(url("set-person-password", named("other administrator")), {"step": "review"})

    assert (granted.status_code, raised.status_code, taken.status_code) == (409, 409, 409)
    assert "it has rights that you lack" in text_of(granted)
    assert "this person has rights that you lack" in text_of(taken)
    assert accounts() == before
    # An inactive administrator's rights count too.
    User.objects.filter(username="other-administrator").update(is_active=False)
    assert client.get(url("set-person-password", named("other administrator"))).status_code == 409
    assert confirm(client, url("change-role", named("other viewer")), role=roles.OPERATOR).status_code == 302


def test_a_ticket_is_worth_nothing_when_the_role_was_taken_away(crew: Any) -> None:
    client, target = crew[roles.ADMINISTRATOR], named("other viewer")
    sent, _ = confirmation(client, url("change-role", target), role=roles.ADMINISTRATOR)
    named("administrator").groups.set([Group.objects.get(name=roles.OPERATOR)])
    before = accounts()

    assert client.post(url("change-role", target), {**sent, "reason": "as asked"}).status_code == 403
    assert accounts() == before


@pytest.mark.django_db(transaction=True)
def test_of_two_administrators_who_dismiss_each_other_at_once_one_does() -> None:
    roles.ensure()
    pair = []
    for name in ("ada", "bea"):
        user = User.objects.create_user(name, is_staff=True)
        user.groups.set([Group.objects.get(name=roles.ADMINISTRATOR)])
        pair.append(user)
    start, outcomes = threading.Barrier(2), []

    def dismiss(actor: Any, other: Any) -> None:
        try:
            operator, seen = Operator(staff=actor, confirmation=f"by {actor}"), people.about(other)
            start.wait(timeout=60)
            try:
                ChangeRole().run(operator, other, {"role": roles.VIEWER}, seen)
                outcomes.append("done")
            except errors.NotPossible:
                outcomes.append("refused")
        finally:
            connections.close_all()

    threads = [threading.Thread(target=dismiss, args=pair[::step]) for step in (1, -1)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(timeout=60)

    # Who was dismissed first may not dismiss any more: rights are looked at under the locks.
    assert sorted(outcomes) == ["done", "refused"]
    assert sorted(people.role_of(user) for user in pair) == [roles.ADMINISTRATOR, roles.VIEWER]
    assert OperatorAction.objects.count() == 1


def test_a_single_permission_of_a_person_is_one_that_the_operator_may_lack(crew: Any) -> None:
    """As a superuser may give it on the command line."""
    operator, viewer = named(roles.OPERATOR), named(roles.VIEWER)
    assert people.why_not(operator, viewer) == ""
    lacked = set(roles.ROLES[roles.ADMINISTRATOR]) - operator.get_all_permissions()
    label, _, codename = min(lacked).partition(".")

    viewer.user_permissions.add(Permission.objects.get(content_type__app_label=label, codename=codename))

    assert people.why_not(operator, viewer) == "this person has rights that you lack"


def test_who_is_activated_may_sign_in_to_the_admin(crew: Any) -> None:
    viewer = named(roles.VIEWER)
    User.objects.filter(pk=viewer.pk).update(is_active=False, is_staff=False)
    viewer.refresh_from_db()

    assert people.change_active(person=viewer, active=True) == 0

    viewer.refresh_from_db()
    assert (viewer.is_active, viewer.is_staff) == (True, True)
    assert people.change_active(person=viewer, active=False) == 1
    viewer.refresh_from_db()
    assert (viewer.is_active, viewer.is_staff) == (False, True)


def test_what_is_not_possible_is_refused_on_the_locked_row_too(crew: Any) -> None:
    """Nothing that the confirmation shows has changed, and its page was not asked."""
    operator = named(roles.ADMINISTRATOR)
    before = accounts()

    with pytest.raises(errors.NotPossible, match="This is not possible: it is your own account"):
        run(ChangeMail, operator, staff=operator.username, mail="other@example.org")

    assert accounts() == before
