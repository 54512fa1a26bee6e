"""One action on several rows of a list: counted in one preview, confirmed once, decided row by row."""

import re
from datetime import timedelta
from types import SimpleNamespace
from typing import Any

import pytest
from django.contrib.auth.models import Group, User
from django.db import OperationalError
from django.test import Client
from django.urls import reverse
from django.utils import timezone

from config.admin import roles
from config.admin.actions import registry
from config.admin.transfers import TransferPage
from tests.support.desk_pages import text_of
from transfers import operations as transfers
from transfers.models import Transfer
from wallets import operations as wallets
from wallets.models import BearerToken, OperatorAction

CANCEL = "/admin/acts/many/cancel-transfer/"
REVOKE = "/admin/acts/many/revoke-bearer-token/"


@pytest.fixture
def stuck(ledger: SimpleNamespace) -> list[Any]:
    """Three pending transfers of two tokens each."""
    return [transfers.send_bundle(actor=ledger.alice, sender="alice", receiver="bobby", size=2).id for _ in range(3)]


def chosen(client: Client, url: str, rows: Any, **answers: str) -> Any:
    """Choose rows in the list, answer the questions, and return the preview."""
    step = {"step": "review", **answers} if answers else {}
    return client.post(url, {"row": [str(row) for row in rows], **step})


def confirmed(client: Client, url: str, preview: Any, reason: str = "stuck", **answers: str) -> Any:
    return client.post(url, {"step": "confirm", "ticket": preview.context["ticket"], "reason": reason, **answers})


def states(rows: Any) -> list[str]:
    return [Transfer.objects.get(pk=row).state for row in rows]


def test_the_preview_counts_and_names_what_is_left_out(desk: Client, ledger: SimpleNamespace, stuck: Any) -> None:
    done, logged = ledger.transfers["accepted"].id, OperatorAction.objects.count()

    questions = chosen(desk, CANCEL, [*stuck, done])
    preview = chosen(desk, CANCEL, [*stuck, done, "nonsense"], event="delete")

    assert "4 rows selected." in text_of(questions)
    assert list(preview.context["consequences"]) == [
        "3 transfers of 6 tokens are cancelled, each in the name of the wallet which requested it: withdraw it. That is"
        " final. Both wallets of each get an event.",
        "6 reserved tokens can be used again.",
    ]
    assert [(each.url.split("/")[-3:-2], each.why) for each in preview.context["exceptions"]] == [
        ([str(done)], "it is completed, and that is final"),
        ([], "it does not exist"),
    ]
    assert (states(stuck), OperatorAction.objects.count()) == (["pending"] * 3, logged)


def test_each_row_is_done_and_logged_for_itself(desk: Client, ledger: SimpleNamespace, stuck: Any) -> None:
    preview = chosen(desk, CANCEL, stuck, event="delete")

    report = confirmed(desk, CANCEL, preview, event="delete")

    assert (report.status_code, len(report.context["done"]), report.context["exceptions"]) == (200, 3, [])
    assert states(stuck) == ["cancelled"] * 3
    acts = OperatorAction.objects.filter(verb="cancelled_transfer").order_by("pk")
    assert [(act.object_id, act.reason, act.after["in_the_name_of"]) for act in acts] == [
        (str(row), "stuck", "alice") for row in stuck
    ]


def test_a_row_that_changed_is_left_and_the_others_are_done(desk: Client, ledger: SimpleNamespace, stuck: Any) -> None:
    preview = chosen(desk, CANCEL, stuck, event="delete")
    transfers.accept(actor=ledger.bob, transfer_id=stuck[1])

    report = confirmed(desk, CANCEL, preview, event="delete")

    assert states(stuck) == ["cancelled", "completed", "cancelled"]
    assert [each.why for each in report.context["exceptions"]] == [
        "Something changed since this was shown. Look again."
    ]
    assert "2 rows done, 1 row left unchanged." in text_of(report)
    assert OperatorAction.objects.filter(verb="cancelled_transfer").count() == 2


def test_a_confirmation_that_is_sent_twice_has_one_effect(desk: Client, ledger: SimpleNamespace, stuck: Any) -> None:
    preview = chosen(desk, CANCEL, stuck[:1], event="delete")
    confirmed(desk, CANCEL, preview, event="delete")

    again = confirmed(desk, CANCEL, preview, event="delete")

    assert again.status_code == 409
    assert [each.why for each in again.context["exceptions"]] == ["it was already done with this confirmation"]
    assert OperatorAction.objects.filter(verb="cancelled_transfer").count() == 1


def test_after_a_failure_of_the_database_no_other_row_is_tried(
    desk: Client, ledger: SimpleNamespace, stuck: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    preview = chosen(desk, CANCEL, stuck, event="delete")
    act = type(registry.by_name("cancel-transfer"))
    run, tried = act.run, []

    def fails_at_the_second(self: Any, *args: Any) -> Any:
        tried.append(args)
        if len(tried) == 2:
            raise OperationalError
        return run(self, *args)

    monkeypatch.setattr(act, "run", fails_at_the_second)
    report = confirmed(desk, CANCEL, preview, event="delete")

    assert (len(tried), states(stuck)) == (2, ["cancelled", "pending", "pending"])
    assert [each.why for each in report.context["exceptions"]] == [
        "the database did not answer; it may be tried again",
        "not tried: the database did not answer before",
    ]


def test_rights_are_those_at_the_turn_of_each_row(
    desk: Client, staff: User, ledger: SimpleNamespace, stuck: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    """An administrator takes the role away while the rows are worked on."""
    roles.ensure()
    person = User.objects.create_user("nora", is_staff=True)
    person.groups.add(Group.objects.get(name=roles.OPERATOR))
    client = Client()
    client.force_login(person)
    preview = chosen(client, CANCEL, stuck, event="delete")
    act = next(each for each in registry.ALL if each.name == "cancel-transfer")
    run = type(act).run

    def then_demoted(self: Any, *args: Any) -> Any:
        outcome = run(self, *args)
        person.groups.set([Group.objects.get(name=roles.VIEWER)])
        return outcome

    monkeypatch.setattr(type(act), "run", then_demoted)
    report = confirmed(client, CANCEL, preview, event="delete")

    assert states(stuck) == ["cancelled", "pending", "pending"]
    assert [each.why for each in report.context["exceptions"]] == ["Your role no longer allows this."] * 2


@pytest.mark.parametrize(
    ("change", "status"),
    [
        ({"ticket": "forged"}, 409),
        ({"event": "decline"}, 409),
        ({"event": "accept"}, 400),
        ({"reason": ""}, 400),
    ],
)
def test_what_was_not_previewed_is_not_done(
    desk: Client, ledger: SimpleNamespace, stuck: Any, change: dict[str, str], status: int
) -> None:
    preview = chosen(desk, CANCEL, stuck, event="delete")
    sent = {"step": "confirm", "ticket": preview.context["ticket"], "event": "delete", "reason": "stuck"}

    response = desk.post(CANCEL, sent | change)

    assert response.status_code == status
    assert states(stuck) == ["pending"] * 3


def test_a_ticket_is_for_one_person_and_one_action(desk: Client, ledger: SimpleNamespace, stuck: Any) -> None:
    preview = chosen(desk, CANCEL, stuck, event="delete")
    other = Client()
    other.force_login(User.objects.create_superuser("petra"))

    responses = [confirmed(other, CANCEL, preview, event="delete"), confirmed(desk, REVOKE, preview)]

    assert [response.status_code for response in responses] == [409, 409]
    assert states(stuck) == ["pending"] * 3


def test_nothing_and_too_much_are_refused_and_the_filters_kept(desk: Client, ledger: SimpleNamespace) -> None:
    here = reverse("admin:transfers_transfer_changelist")
    nothing = desk.post(CANCEL, {"back": "state=open&sort=made"})
    most, many = (desk.post(CANCEL, {"row": [str(number) for number in range(count)]}) for count in (100, 101))
    unknown = chosen(desk, CANCEL, ["00000000-0000-4000-8000-000000000000", "x"], event="delete")

    assert (nothing.status_code, nothing["Location"]) == (302, f"{here}?state=open&sort=made")
    assert most.status_code == 200
    assert (many.status_code, many["Location"]) == (302, here)
    assert (unknown.status_code, desk.get(CANCEL)["Location"]) == (409, here)


@pytest.mark.parametrize("role", roles.ROLES)
def test_only_those_who_may_see_boxes_and_may_choose(db: None, staff: User, ledger: SimpleNamespace, role: str) -> None:
    roles.ensure()
    person, client = User.objects.create_user("nora", is_staff=True), Client()
    person.groups.add(Group.objects.get(name=role))
    client.force_login(person)

    shown = client.get(reverse("admin:transfers_transfer_changelist"))
    response = chosen(client, CANCEL, [ledger.transfers["pending"].id], event="delete")

    may = role != roles.VIEWER
    assert (b'name="row"' in shown.content, response.status_code) == (may, 200 if may else 403)


def test_unused_bearer_tokens_are_found_and_revoked(desk: Client, ledger: SimpleNamespace) -> None:
    now = timezone.now()
    for name in ("alice", "bobby"):
        password = {"alice": "correct horse", "bobby": "battery staple"}[name]
        wallets.authenticate(name_or_id=name, password=password)
    never, fresh = BearerToken.objects.order_by("-created_at")[:2]
    BearerToken.objects.filter(pk=never.pk).update(created_at=now - timedelta(days=2))
    BearerToken.objects.filter(pk=fresh.pk).update(last_used_at=now)
    url = reverse("admin:wallets_bearertoken_changelist")
    found = [row.pk for row in desk.get(f"{url}?unused=never").context["cl"].result_list]
    preview = chosen(desk, REVOKE, found)

    report = confirmed(desk, REVOKE, preview)

    assert found == [never.pk]
    assert list(preview.context["consequences"]) == [
        "1 bearer token of 1 wallet will be revoked: the programs that use it must log in again."
    ]
    assert len(report.context["done"]) == 1
    assert [row.revoked_at is None for row in (BearerToken.objects.get(pk=pk) for pk in (never.pk, fresh.pk))] == [
        False,
        True,
    ]


def test_pages_say_which_one_is_shown(desk: Client, ledger: SimpleNamespace, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(TransferPage, "list_per_page", 2)

    shown = desk.get(reverse("admin:transfers_transfer_changelist") + "?p=2&sort=made").content.decode()

    pages = re.search(r'<nav class="paginator".*?</nav>', shown, re.DOTALL).group()  # type: ignore[union-attr]
    assert '<span class="this-page" aria-current="page">2</span>' in pages
    assert 'href="?p=1&amp;sort=made"' in pages
    assert "page 2 of 3, 5 transfers" in pages
    assert shown.count('aria-current="page"') == 2
