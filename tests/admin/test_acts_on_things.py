"""Who did it is on the page of the thing, and the thing on the page of the act; events say that an operator acted."""

import re
from types import SimpleNamespace
from typing import Any

import pytest
from django.contrib import admin
from django.contrib.auth.models import User
from django.test import Client
from django.urls import reverse

from config.admin.base import LedgerPage
from lockers.models import LockerTask
from lockers.states import TaskKind, TaskState
from tests.admin.conftest import a_link_of
from tests.api.caller import Caller
from tests.support.desk_pages import confirm, url
from transfers import operations as transfers
from wallets import operations as wallets
from wallets import operator_log
from wallets.models import ApiKey, BearerToken, Event, OperatorAction, Token

pytestmark = pytest.mark.django_db

PAGES = {
    page.singular: model._meta
    for model, page in admin.site._registry.items()
    if isinstance(page, LedgerPage) and model is not OperatorAction
}


def text_of(response: Any) -> Any:
    return re.sub(r"\s+", " ", re.sub(r"<[^>]+>", " ", response.content.decode()))


def page(desk: Any, name: Any, row_id: Any) -> Any:
    return desk.get(reverse(f"admin:{name}_change", args=[row_id]))


def links(response: Any) -> Any:
    return set(re.findall(r'href="([^"]+)"', response.content.decode()))


def is_linked(desk: Any, action: Any, name: Any, row_id: Any) -> Any:
    """Whether action and thing name each other."""
    of_action = reverse("admin:wallets_operatoraction_change", args=[action.pk])
    of_thing = reverse(f"admin:{name}_change", args=[row_id])
    return of_action in links(desk.get(of_thing)) and of_thing in links(desk.get(of_action))


@pytest.mark.parametrize("kind", sorted(PAGES))
def test_the_page_of_each_kind_of_thing_names_the_acts_on_it(
    desk: Client, staff: User, ledger: SimpleNamespace, kind: Any
) -> None:
    a_link_of(ledger.alice)
    rows = list(admin.site._registry[PAGES[kind].model].get_queryset(None)[:2])
    row, name = rows[0], f"{PAGES[kind].app_label}_{PAGES[kind].model_name}"
    operator = operator_log.Operator(staff=staff, confirmation="c1", reason="a call on the phone")

    action = operator_log.record(operator, "set_password", kind=kind, object_id=row.pk)
    made = operator_log.record(
        operator_log.Operator(staff=staff, confirmation="c2", reason="another call"),
        "set_password", kind="local network", concerns=[(kind, row.pk)],
    )  # fmt: skip

    shown = text_of(page(desk, name, row.pk))
    assert "olivia set a password" in shown
    assert ": a call on the phone" in shown
    assert ": another call" in shown
    assert is_linked(desk, action, name, row.pk)
    assert is_linked(desk, made, name, row.pk)
    for other in rows[1:]:
        assert "a call on the phone" not in text_of(page(desk, name, other.pk))


def test_a_transfer_that_an_operator_cancelled_says_so(desk: Client, ledger: SimpleNamespace) -> None:
    transfer = ledger.transfers["pending"]
    events = Event.objects.latest("number").number

    confirm(desk, reverse("admin:cancel-transfer", args=[transfer.id]), reason="asked for by phone", event="delete")

    shown = text_of(page(desk, "transfers_transfer", transfer.id))
    assert "cancelled by operator olivia, in the name of alice: asked for by phone" in shown
    assert "withdrawn" not in shown
    action = OperatorAction.objects.latest("id")
    assert is_linked(desk, action, "transfers_transfer", transfer.id)
    for wallet in (ledger.alice, ledger.bob):
        assert is_linked(desk, action, "wallets_wallet", wallet.pk)
    assert [event.payload.get("operator") for event in Event.objects.filter(number__gt=events)] == [True, True]


def test_a_transfer_that_its_sender_cancelled_names_the_sender(desk: Client, ledger: SimpleNamespace) -> None:
    transfer = ledger.transfers["pending"]
    events = Event.objects.latest("number").number

    transfers.delete(actor=ledger.alice, transfer_id=transfer.id)

    assert "withdrawn by alice" in text_of(page(desk, "transfers_transfer", transfer.id))
    assert ["operator" in event.payload for event in Event.objects.filter(number__gt=events)] == [False, False]


def test_the_events_of_a_client_say_that_an_operator_acted_and_not_who(desk: Client, ledger: SimpleNamespace) -> None:
    _, key = wallets.create_api_key(name="client")
    alice = Caller(key, wallets.authenticate(name_or_id="alice", password="correct horse"), ledger.alice)
    confirm(desk, reverse("admin:cancel-transfer", args=[ledger.transfers["pending"].id]), event="delete")
    confirm(desk, url("create-wallet"), name="birch")
    wallets.authenticate(name_or_id="alice", password="correct horse")

    answer = alice.get("/events?limit=100")

    assert answer.status_code == 200
    told = [event["payload"].get("operator") for event in answer.json()["events"]]
    assert told[-2:] == [True, None]
    assert set(told[:-2]) == {None}
    assert b"olivia" not in answer.content


def test_the_task_that_a_retry_made_names_the_retry(desk: Client, ledger: SimpleNamespace) -> None:
    failed = LockerTask.objects.create(
        kind=TaskKind.FIND, wallet=ledger.alice, actor=ledger.alice, state=TaskState.ERROR, step="done",
        receipt_id="0" * 32, deadline=ledger.failed.deadline, finished_at=ledger.failed.finished_at,
    )  # fmt: skip

    confirm(desk, url("retry-task", failed), reason="the servers are back")

    action = OperatorAction.objects.latest("id")
    again = action.after["task"]
    assert again != str(failed.pk)
    for task_id in (failed.pk, again):
        assert "olivia retried a task" in text_of(page(desk, "lockers_lockertask", task_id))
        assert is_linked(desk, action, "lockers_lockertask", task_id)
    assert is_linked(desk, action, "wallets_wallet", ledger.alice.pk)


def test_tokens_that_an_operator_issued_say_so(desk: Client, ledger: SimpleNamespace) -> None:
    transfers.issue_tokens(wallet=ledger.bob, count=1)
    known = set(Token.objects.values_list("pk", flat=True))
    confirm(desk, url("issue-tokens", ledger.bob), count="2", reason="spring")

    for token in Token.objects.filter(wallet=ledger.bob):
        issued = token.pk not in known
        assert ("olivia issued tokens" in text_of(page(desk, "wallets_token", token.pk))) is issued
    action = OperatorAction.objects.latest("id")
    assert reverse("admin:wallets_operatoraction_change", args=[action.pk]) in links(
        page(desk, "wallets_token", Token.objects.exclude(pk__in=known).first().pk)
    )
    assert is_linked(desk, action, "wallets_wallet", ledger.bob.pk)


def test_credentials_name_who_made_and_ended_them(desk: Client, ledger: SimpleNamespace) -> None:
    confirm(desk, url("rotate-api-key", ledger.key), old_stays_valid="24")
    new = ApiKey.objects.exclude(pk=ledger.key.pk).get()
    bearer = BearerToken.objects.filter(wallet=ledger.alice).first()
    rotated = OperatorAction.objects.latest("id")
    confirm(desk, url("revoke-bearer-token", bearer))
    revoked = OperatorAction.objects.latest("id")

    for key in (ledger.key, new):
        assert is_linked(desk, rotated, "wallets_apikey", key.pk)
    assert is_linked(desk, revoked, "wallets_bearertoken", bearer.pk)
    assert is_linked(desk, revoked, "wallets_wallet", ledger.alice.pk)
