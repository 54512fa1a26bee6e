"""What operators do: with confirmation, once, as the rules of the ledger allow, and written down."""

from datetime import timedelta
from pathlib import Path
from types import SimpleNamespace
from typing import Any
from uuid import uuid4

import pytest
from django.contrib import admin
from django.contrib.auth.models import Group, User
from django.core.files.uploadedfile import SimpleUploadedFile
from django.test import Client
from django.urls import reverse
from django.utils import timezone

from config.admin import people, roles
from config.admin import reports as reports_of_admin
from config.admin.actions import base, registry
from config.admin.models import Alert, Session
from lockers import reports, vault
from lockers.localnet.control import Control
from lockers.models import Account, Coin, Locker, LockerTask, PaymentRequest, StatementLine
from lockers.states import LockerState, TaskKind, TaskState
from tests.admin.conftest import a_link_of, furnish
from tests.support.desk_pages import confirm, confirmation, text_of, url
from tests.support.local_network import LocalNetwork, listening
from transfers import operations as transfers
from transfers.audit import audit_findings
from transfers.counters import token_counts
from transfers.models import ActionToken, Transfer
from trusts import operations as trusts
from trusts import restricted_keys
from trusts.errors import EndedByOperator
from trusts.models import Trust
from trusts.states import TrustRequestType
from wallets import operations as wallets
from wallets import queries
from wallets.models import ApiKey, AuditRun, BearerToken, Event, OperatorAction, RestrictedKey, Token, Wallet
from webhooks.models import Webhook, WebhookDelivery

pytestmark = pytest.mark.django_db


@pytest.mark.parametrize("reason", ["", "  ", None])
@pytest.mark.parametrize("name", ["set-password", "issue-tokens", "create-person", "change-role"])
def test_no_act_without_a_reason(name: str, reason: str | None, desk: Client, ledger: SimpleNamespace) -> None:
    person = User.objects.create_user("vera", is_staff=True)
    groups = {role: Group.objects.get_or_create(name=role)[0] for role in roles.ROLES}
    person.groups.set([groups[roles.VIEWER]])
    row, answers = {
        "set-password": (ledger.bob, {"end_keys": ""}),
        "issue-tokens": (ledger.bob, {"count": "4"}),
        "create-person": (None, {"name": "pat", "role": roles.VIEWER}),
        "change-role": (person, {"role": roles.OPERATOR}),
    }[name]
    actions = OperatorAction.objects.count()
    sent, sentences = confirmation(desk, url(name, row), **answers)

    refused = desk.post(url(name, row), sent if reason is None else {**sent, "reason": reason})

    assert (refused.status_code, refused.context["refusal"]) == (400, "Nothing was done yet: give a reason.")
    assert list(refused.context["consequences"]) == sentences
    assert OperatorAction.objects.count() == actions
    assert not User.objects.filter(username="pat").exists()
    assert people.role_of(person) == roles.VIEWER
    again = {**sent, "ticket": refused.context["ticket"], **dict(refused.context["hidden"]), "reason": "as asked"}
    assert desk.post(url(name, row), again).status_code in (200, 302)
    assert OperatorAction.objects.latest("id").reason == "as asked"


def last_action() -> Any:
    action = OperatorAction.objects.latest("id")
    return action.verb, action.object_kind, action.object_label, action.reason


def test_tokens_are_issued_by_number_and_the_log_says_so(desk: Client, ledger: SimpleNamespace) -> None:
    before = token_counts([ledger.bob.pk])[ledger.bob.pk].total
    sent, said = confirmation(desk, url("issue-tokens", ledger.bob), count="7")
    assert said[0] == "7 new tokens in bobby, with random capture ids."
    assert token_counts([ledger.bob.pk])[ledger.bob.pk].total == before

    answer = desk.post(url("issue-tokens", ledger.bob), {**sent, "reason": "spring"}, headers={"X-Request-Id": "req-1"})

    assert answer.status_code == 302
    assert answer.url == reverse("admin:wallets_wallet_change", args=[ledger.bob.pk])
    assert token_counts([ledger.bob.pk])[ledger.bob.pk].total == before + 7
    action = OperatorAction.objects.latest("id")
    assert (action.staff.username, action.verb, action.object_id, action.reason, action.request_id) == (
        "olivia", "issued_tokens", str(ledger.bob.pk), "spring", "req-1",
    )  # fmt: skip
    assert action.before == {"issues_by_operators": 0, "captures_issued_already": 0, "tokens": before}
    assert action.after == {"issued": 7, "tokens": before + 7}
    assert audit_findings() == []


def test_tokens_are_issued_for_the_captures_of_a_file_all_or_none(desk: Client, ledger: SimpleNamespace) -> None:
    captures = [uuid4(), uuid4()]
    address = url("issue-tokens", ledger.bob)

    def file(text: Any) -> Any:
        return SimpleUploadedFile("captures.csv", text.encode())

    lines = "capture_id,place\n" + "\n".join(f"{capture},here" for capture in captures)
    answer = confirm(desk, address, file=file(lines))
    assert answer.status_code == 302
    assert set(Token.objects.filter(capture_id__in=captures).values_list("wallet_id", flat=True)) == {ledger.bob.pk}

    count = Token.objects.count()
    sent, said = confirmation(desk, address, file=file(f"{uuid4()}\n{captures[0]}\n"))
    assert said == ["1 capture of the file already has a token: no token will be issued."]
    assert desk.post(address, {**sent, "reason": "as asked"}).status_code == 409
    for wrong, sentence in [
        ("capture_id\nnonsense\n", "Line 2, column 1 has no capture id"),
        (f"{captures[0]}\n{captures[0]}\n", "1 line of the file repeats another capture id"),
        ("capture_id\n", "holds no capture id"),
        ("", "empty"),
    ]:
        page = desk.post(address, {"step": "review", "file": file(wrong)})
        assert sentence in text_of(page)
        assert "ticket" not in page.context
    assert "Enter a number or choose a file" in text_of(
        desk.post(address, {"step": "review", "count": "1", "file": file(lines)})
    )
    assert "Enter a number or choose a file" in text_of(desk.post(address, {"step": "review"}))
    assert Token.objects.count() == count
    assert OperatorAction.objects.filter(verb="issued_tokens", object_id=str(ledger.bob.pk)).count() == 1


def test_a_wallet_and_its_password_are_made_and_the_password_is_shown_once(desk: Client) -> None:
    page = confirm(desk, url("create-wallet"), name="birch", with_password="on")

    secrets = dict(page.context["done"].secrets)
    assert page.status_code == 200
    assert "no-store" in page["Cache-Control"]
    assert wallets.authenticate(name_or_id="birch", password=secrets["Password"])
    assert secrets["Password"] not in str(OperatorAction.objects.values())
    assert last_action() == ("created_wallet", "wallet", "birch", "because")
    refused = desk.post(url("create-wallet"), {"step": "review", "name": "b c"})
    assert "invalid wallet name" in text_of(refused)
    for name in (str(uuid4()), uuid4().hex, f"{{{uuid4()}}}", "bir\u3164ch", "bir\u2800ch"):
        page = desk.post(url("create-wallet"), {"step": "review", "name": name})
        assert "invalid wallet name" in text_of(page)
        assert "ticket" not in page.context
    sent, said = confirmation(desk, url("create-wallet"), name="BIRCH")
    assert said == ["A wallet named BIRCH already exists: this will be refused."]
    assert desk.post(url("create-wallet"), {**sent, "reason": "as asked"}).status_code == 409
    assert Wallet.objects.count() == 1


def test_a_new_password_ends_the_bearer_tokens(desk: Client, ledger: SimpleNamespace) -> None:
    wallets.authenticate(name_or_id="alice", password="correct horse")
    _, said = confirmation(desk, url("set-password", ledger.alice), end_keys="")
    assert said[2].startswith("2 valid bearer tokens of it will be revoked")

    page = confirm(desk, url("set-password", ledger.alice), end_keys="")

    assert wallets.authenticate(name_or_id="alice", password=dict(page.context["done"].secrets)["Password"])
    assert BearerToken.objects.filter(wallet=ledger.alice, revoked_at=None).count() == 1
    assert last_action()[:3] == ("set_password", "wallet", "alice")


@pytest.mark.parametrize("by", ["set-password", "end-restricted-keys"])
def test_all_restricted_keys_of_a_wallet_end(desk: Client, ledger: SimpleNamespace, by: str) -> None:
    for wallet in (ledger.alice, ledger.bob):
        restricted_keys.create(actor=wallet, name="another", scopes=["tokens:read"])
    answers = {"end_keys": "on"} if by == "set-password" else {}
    valid = RestrictedKey.objects.filter(ended_at=None)
    mine, others = valid.filter(wallet=ledger.alice).count(), valid.exclude(wallet=ledger.alice).count()
    assert mine >= 1
    keys = f"{mine} restricted key{'s' if mine > 1 else ''}"
    tokens = BearerToken.objects.filter(wallet=ledger.alice, revoked_at=None).count()

    _, said = confirmation(desk, url(by, ledger.alice), **answers)
    assert f"{keys} of it will end: requests that use them are refused." in " ".join(said)
    confirm(desk, url(by, ledger.alice), **answers)

    assert valid.filter(wallet=ledger.alice).count() == 0
    assert valid.exclude(wallet=ledger.alice).count() == others
    told = Event.objects.filter(type="key.ended")
    assert {(each.wallet_id, each.payload["operator"]) for each in told} == {(ledger.alice.pk, True)}
    assert told.count() == mine
    left = BearerToken.objects.filter(wallet=ledger.alice, revoked_at=None).count()
    assert left == (0 if by == "set-password" else tokens)
    action = OperatorAction.objects.latest("pk")
    assert action.verb == by.replace("-", "_").replace("end_r", "ended_r")
    assert (action.before["valid_restricted_keys"], action.after["valid_restricted_keys"]) == (mine, 0)
    if by == "end-restricted-keys":
        assert desk.get(url(by, ledger.alice)).status_code == 409


def test_bearer_tokens_are_revoked_one_or_all(desk: Client, ledger: SimpleNamespace) -> None:
    wallets.authenticate(name_or_id="alice", password="correct horse")
    one, other = BearerToken.objects.filter(wallet=ledger.alice).order_by("created_at")

    assert confirm(desk, url("revoke-bearer-token", one)).status_code == 302
    one.refresh_from_db()
    other.refresh_from_db()
    assert one.revoked_at is not None
    assert other.revoked_at is None
    assert confirm(desk, url("revoke-bearer-tokens", ledger.alice)).status_code == 302
    other.refresh_from_db()
    assert other.revoked_at is not None
    # Now there is none, and the page says so.
    refused = desk.get(url("revoke-bearer-tokens", ledger.alice))
    assert refused.status_code == 409
    assert "it has no valid bearer token" in text_of(refused)


def test_api_keys_are_created_rotated_and_revoked(desk: Client, ledger: SimpleNamespace) -> None:
    plaintext = dict(confirm(desk, url("create-api-key"), name="partner two").context["done"].secrets)["API key"]
    key = ApiKey.objects.get(digest=queries.digest(plaintext))
    assert key.name == "partner two"
    assert plaintext not in str(OperatorAction.objects.values())

    page = confirm(desk, url("rotate-api-key", key), old_stays_valid="24")
    new = ApiKey.objects.get(digest=queries.digest(dict(page.context["done"].secrets)["API key"]))
    key.refresh_from_db()
    assert (new.name, new.revoked_at, key.revoked_at) == ("partner two", None, None)
    assert timedelta(hours=23, minutes=59) < key.expires_at - timezone.now() <= timedelta(hours=24)

    confirm(desk, url("rotate-api-key", new), old_stays_valid="0")
    new.refresh_from_db()
    assert new.revoked_at is not None
    confirm(desk, url("revoke-api-key", key))
    key.refresh_from_db()
    assert key.revoked_at is not None
    assert desk.get(url("revoke-api-key", key)).status_code == 409
    assert list(OperatorAction.objects.order_by("id").values_list("verb", flat=True))[1:] == [
        "created_api_key", "rotated_api_key", "rotated_api_key", "revoked_api_key",
    ]  # fmt: skip


@pytest.mark.parametrize("request_type", ["send", "receive", "manage", "yield"])
@pytest.mark.parametrize("state", ["requested", "trusted"])
def test_an_open_trust_is_ended_and_neither_side_brings_it_back(
    desk: Client, ledger: SimpleNamespace, request_type: str, state: str
) -> None:
    asked = trusts.request_trust(actor=ledger.sapling, requestee="bobby", request_type=TrustRequestType(request_type))
    if state == "trusted":
        trusts.accept_trust(actor=ledger.bob, trust_id=asked.id)
    trust = Trust.objects.get(pk=asked.id)
    _, said = confirmation(desk, url("end-trust", trust))
    assert said[0].startswith("sapling ")
    assert ("is in force, and ends" in said[0], "is only requested" in said[0]) == (
        state == "trusted", state == "requested",
    )  # fmt: skip

    assert confirm(desk, url("end-trust", trust)).status_code == 302

    trust.refresh_from_db()
    closed = "cancelled_by_originator" if request_type in ("receive", "yield") else "cancelled_by_target"
    assert (trust.state, trust.withdrawn) == (closed, True)
    with pytest.raises(EndedByOperator):
        trusts.accept_trust(actor=ledger.bob, trust_id=trust.pk)
    action = OperatorAction.objects.latest("id")
    assert last_action()[:2] == ("ended_trust", "trust")
    assert (action.object_id, action.reason) == (str(trust.pk), "because")
    assert action.before == {"state": state, "request_type": request_type, "originator": "sapling"}
    assert action.after == {"state": closed, "event": "end"}
    again = desk.get(url("end-trust", trust))
    assert again.status_code == 409
    assert "it is neither requested nor trusted" in text_of(again)
    page = text_of(desk.get(reverse("admin:trusts_trust_change", args=[trust.pk])))
    assert "An operator ended it" in page


def test_a_trust_that_changed_since_it_was_shown_is_shown_again(desk: Client, ledger: SimpleNamespace) -> None:
    trust = Trust.objects.get(pk=ledger.trust.id)
    sent, _ = confirmation(desk, url("end-trust", trust))
    trusts.accept_trust(actor=ledger.alice, trust_id=trust.pk)
    actions = OperatorAction.objects.count()

    late = desk.post(url("end-trust", trust), {**sent, "reason": "late"})

    assert late.status_code == 409
    assert "Something changed since this was shown" in text_of(late)
    trust.refresh_from_db()
    assert (trust.state, OperatorAction.objects.count()) == ("trusted", actions)


@pytest.mark.parametrize(
    ("which", "event", "name", "closed_event"),
    [
        ("pending", "delete", "alice", "delete"),
        ("pending", "decline", "bobby", "decline"),
        ("requested", "delete", "bobby", "delete"),
        ("requested", "decline", "alice", "decline"),
    ],
)
def test_an_open_transfer_is_cancelled_in_the_name_of_either_side(
    desk: Client, ledger: SimpleNamespace, which: str, event: str, name: str, closed_event: str
) -> None:
    transfer = Transfer.objects.get(pk=ledger.transfers[which].id)
    _, said = confirmation(desk, url("cancel-transfer", transfer), event=event)
    assert f"in the name of {name}" in said[0]
    assert said[1] == (
        "2 reserved tokens of alice can be used again." if which == "pending" else "No token was reserved for it."
    )

    assert confirm(desk, url("cancel-transfer", transfer), event=event).status_code == 302

    transfer.refresh_from_db()
    assert (transfer.state, transfer.closed_event, transfer.closed_by.name) == ("cancelled", closed_event, name)
    assert OperatorAction.objects.latest("id").after == {
        "state": "cancelled", "tokens_reserved": 0, "in_the_name_of": name, "event": event,
    }  # fmt: skip
    again = desk.get(url("cancel-transfer", transfer))
    assert again.status_code == 409
    assert "it is cancelled, and that is final" in text_of(again)


def test_a_double_click_has_one_effect_and_leads_to_what_came_of_it(desk: Client, ledger: SimpleNamespace) -> None:
    sent, _ = confirmation(desk, url("issue-tokens", ledger.bob), count="3")
    before = Token.objects.count()

    first = desk.post(url("issue-tokens", ledger.bob), {**sent, "reason": "as asked"})
    second = desk.post(url("issue-tokens", ledger.bob), {**sent, "reason": "as asked"})

    assert (first.status_code, second.status_code) == (302, 409)
    assert Token.objects.count() == before + 3
    action = OperatorAction.objects.latest("id")
    assert reverse("admin:wallets_operatoraction_change", args=[action.pk]) in second.content.decode()


def test_what_changed_since_it_was_shown_is_shown_again_before_anything_is_done(
    desk: Client, ledger: SimpleNamespace
) -> None:
    """Two operators look at the same page; the second one is told, and decides again."""
    sent, _ = confirmation(desk, url("issue-tokens", ledger.bob), count="3")
    confirm(desk, url("issue-tokens", ledger.bob), count="3")
    before = Token.objects.count()

    late = desk.post(url("issue-tokens", ledger.bob), {**sent, "reason": "late"})

    assert late.status_code == 409
    assert "Something changed since this was shown" in text_of(late)
    assert Token.objects.count() == before
    renewed = {"step": "confirm", "ticket": late.context["ticket"], **dict(late.context["hidden"]), "reason": "late"}
    assert desk.post(url("issue-tokens", ledger.bob), renewed).status_code == 302
    assert Token.objects.count() == before + 3


def test_a_transfer_that_was_decided_meanwhile_is_left_alone(desk: Client, ledger: SimpleNamespace) -> None:
    transfer = Transfer.objects.get(pk=ledger.transfers["pending"].id)
    sent, _ = confirmation(desk, url("cancel-transfer", transfer), event="delete")
    transfers.accept(actor=ledger.bob, transfer_id=transfer.pk)
    actions = OperatorAction.objects.count()

    late = desk.post(url("cancel-transfer", transfer), {**sent, "reason": "as asked"})

    assert late.status_code == 409
    assert "it is completed, and that is final" in text_of(late)
    transfer.refresh_from_db()
    assert transfer.state == "completed"
    assert OperatorAction.objects.count() == actions


@pytest.mark.parametrize("forgery", ["none", "other user", "other row", "other deed", "other values", "old"])
def test_a_ticket_is_good_for_one_person_one_act_one_row_and_a_quarter_of_an_hour(
    desk: Client, ledger: SimpleNamespace, forgery: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    address = url("issue-tokens", ledger.bob)
    sent, _ = confirmation(desk, address, count="3")
    client = desk
    if forgery == "none":
        sent["ticket"] = "forged"
    elif forgery == "other user":
        client = Client()
        client.force_login(User.objects.create_superuser("oscar"))
    elif forgery == "other row":
        address = url("issue-tokens", ledger.alice)
    elif forgery == "other deed":
        address = url("revoke-api-key", ledger.key)
    elif forgery == "other values":
        sent["count"] = "3000"
    else:
        monkeypatch.setattr(base, "TICKET_SECONDS", -1)
    tokens, actions = Token.objects.count(), OperatorAction.objects.count()

    answer = client.post(address, {**sent, "reason": "as asked"})

    assert answer.status_code == 409
    assert "This confirmation" in text_of(answer)
    assert (Token.objects.count(), OperatorAction.objects.count()) == (tokens, actions)
    ledger.key.refresh_from_db()
    assert ledger.key.revoked_at is None


def test_a_post_without_a_csrf_token_is_refused(staff: User, ledger: SimpleNamespace) -> None:
    client = Client(enforce_csrf_checks=True)
    client.force_login(staff)

    answer = client.post(url("run-audit"), {"step": "confirm", "ticket": "x"})

    assert answer.status_code == 403
    assert AuditRun.objects.count() == 1


def test_a_get_does_nothing(desk: Client, ledger: SimpleNamespace) -> None:
    actions = OperatorAction.objects.count()
    rows = {
        Wallet: ledger.alice,
        ApiKey: ledger.key,
        BearerToken: BearerToken.objects.first(),
        RestrictedKey: ledger.restricted_key,
        LockerTask: ledger.failed,
        PaymentRequest: ledger.payment_request,
        Webhook: ledger.webhook,
        WebhookDelivery: ledger.delivery,
        User: User.objects.create_user("vera", is_staff=True),
        Session: Session.objects.get(),
        Alert: ledger.alert,
    }
    rows[Transfer] = Transfer.objects.get(pk=ledger.transfers["pending"].id)
    rows[ActionToken] = a_link_of(ledger.alice)
    rows[Trust] = Trust.objects.get(pk=ledger.trust.id)

    answers = {deed.name: desk.get(url(deed.name, rows.get(deed.model))).status_code for deed in registry.ALL}

    assert set(answers.values()) <= {200, 409}
    assert OperatorAction.objects.count() == actions


def test_coins_of_a_wallet_are_checked(desk: Client, ledger: SimpleNamespace) -> None:
    _, said = confirmation(desk, url("check-coins", ledger.alice))
    assert said[0].startswith("A task asks all 25 servers whether they accept ")
    reserved = Coin.objects.filter(task__isnull=False).count()

    answer = confirm(desk, url("check-coins", ledger.alice), reason="a server crashed")

    task = LockerTask.objects.get(kind=TaskKind.HEALTH)
    assert answer.url.endswith(f"/{task.pk}/change/")
    assert last_action() == ("checked_coins", "wallet", "alice", "a server crashed")
    assert OperatorAction.objects.latest("id").after == {"task": str(task.pk)}
    assert Coin.objects.filter(task__isnull=False).count() == reserved


def test_coins_in_doubt_are_looked_for_and_others_are_fixed(desk: Client, ledger: SimpleNamespace) -> None:
    _, said = confirmation(desk, url("start-find", ledger.alice))
    assert said[0] == "A task asks all 25 servers about the coins of alice that are in limbo or errored: 1 coin."

    found = confirm(desk, url("start-find", ledger.alice))
    fixed = confirm(desk, url("start-fix", ledger.alice))

    tasks = {task.kind: task for task in LockerTask.objects.filter(kind__in=[TaskKind.FIND, TaskKind.FIX])}
    assert found.url.endswith(f"/{tasks['find'].pk}/change/")
    assert fixed.url.endswith(f"/{tasks['fix'].pk}/change/")
    assert {kind: task.coins.count() for kind, task in tasks.items()} == {"find": 1, "fix": 1}
    assert OperatorAction.objects.latest("id").after == {"task": str(tasks["fix"].pk), "coins": 1}
    assert desk.get(url("start-find", ledger.alice)).status_code == 409


@pytest.fixture
def put(ledger: SimpleNamespace) -> Any:
    """Puts of one coin, in each state."""
    common = {"wallet": ledger.bob, "actor": ledger.bob, "kind": TaskKind.PUT, "amount": 10**8, "tag": "t"}
    now = timezone.now()
    return SimpleNamespace(
        failed=LockerTask.objects.create(
            **common, state=TaskState.ERROR, step="done", receipt_id=uuid4().hex, deadline=now, finished_at=now
        ),
        waiting=LockerTask.objects.create(**common, receipt_id=uuid4().hex, deadline=now + timedelta(hours=1)),
    )


def a_coin(wallet: Any, number: Any) -> Any:
    Account.objects.get_or_create(wallet=wallet, defaults={"balance": 0, "lines": 0})
    assert StatementLine.objects.filter(wallet=wallet).count() == 0
    return Coin.objects.create(
        wallet=wallet, denomination=0, serial_number=number, state="bank", origin="import", pown="p" * 25, secrets=b"x"
    )


def test_a_failed_put_is_begun_again_once_and_a_waiting_one_is_rung_for(
    desk: Client, ledger: SimpleNamespace, put: Any
) -> None:
    a_coin(ledger.bob, 500)
    a_coin(ledger.bob, 501)

    begun = confirm(desk, url("retry-task", put.failed))

    again = LockerTask.objects.exclude(pk__in=[put.failed.pk, put.waiting.pk]).get(wallet=ledger.bob)
    assert begun.url.endswith(f"/{again.pk}/change/")
    assert (again.kind, again.amount, again.tag, again.state, again.coins.count()) == ("put", 10**8, "t", "running", 1)
    refused = desk.get(url("retry-task", put.failed))
    assert refused.status_code == 409
    assert f"it was retried already, as task {again.pk}" in text_of(refused)

    rung = confirm(desk, url("retry-task", put.waiting))
    assert rung.url.endswith(f"/{put.waiting.pk}/change/")
    assert OperatorAction.objects.latest("id").after["task"] == str(put.waiting.pk)
    assert LockerTask.objects.filter(wallet=ledger.bob).count() == 3


def test_what_cannot_be_begun_again_or_rolled_back_says_why(desk: Client, ledger: SimpleNamespace, put: Any) -> None:
    LockerTask.objects.filter(pk=put.waiting.pk).update(lease_until=timezone.now() + timedelta(minutes=1))
    done = LockerTask.objects.create(
        kind=TaskKind.IMPORT, wallet=ledger.bob, actor=ledger.bob, state=TaskState.COMPLETED, step="done", progress=100,
        receipt_id=uuid4().hex, deadline=timezone.now(), finished_at=timezone.now(),
    )  # fmt: skip
    for deed, task, sentence in [
        ("retry-task", put.waiting, "a worker is processing it"),
        ("roll-back-task", put.waiting, "a worker is processing it"),
        ("retry-task", done, "it is done"),
        ("roll-back-task", done, "changed nothing that could be undone"),
        ("roll-back-task", put.failed, "none of its coins is in a locker"),
    ]:
        page = desk.get(url(deed, task))
        assert (page.status_code, sentence in text_of(page)) == (409, True), (deed, sentence)
        shown = text_of(desk.get(reverse("admin:lockers_lockertask_change", args=[task.pk])))
        assert sentence in shown


def test_a_waiting_task_is_ended_and_a_filled_locker_is_emptied_again(
    desk: Client, ledger: SimpleNamespace, put: Any
) -> None:
    confirm(desk, url("roll-back-task", put.waiting))
    put.waiting.refresh_from_db()
    assert put.waiting.deadline <= timezone.now()

    locker = Locker(wallet=ledger.bob, state=LockerState.FILLED, amount=10**8)
    locker.code = vault.seal_locker_code("ABCD-EFGH-JKLM", locker_id=locker.pk)
    locker.save(force_insert=True)
    filled = LockerTask.objects.create(
        kind=TaskKind.PUT, wallet=ledger.bob, actor=ledger.bob, state=TaskState.COMPLETED, step="done", progress=100,
        receipt_id=uuid4().hex, deadline=timezone.now(), finished_at=timezone.now(), locker=locker, amount=10**8,
    )  # fmt: skip
    answer = confirm(desk, url("roll-back-task", filled))

    take = LockerTask.objects.get(kind=TaskKind.TAKE, wallet=ledger.bob)
    assert answer.url.endswith(f"/{take.pk}/change/")
    assert vault.task_code(take) == "ABCD-EFGH-JKLM"
    assert "ABCD" not in str(OperatorAction.objects.values())


def test_a_task_with_unknown_coins_is_marked_as_seen_with_a_reason(desk: Client, ledger: SimpleNamespace) -> None:
    _page, said = confirmation(desk, url("mark-task-seen", ledger.failed))
    assert said[1] == "1 coin of it is unknown. No coin is changed, and find tasks continue to ask."

    confirm(desk, url("mark-task-seen", ledger.failed), reason="asked the owner")

    action = OperatorAction.objects.latest("id")
    assert (action.verb, action.reason, action.object_id) == ("saw_task", "asked the owner", str(ledger.failed.pk))
    assert reports.tasks_in_need(LockerTask.objects.all()).count() == 0
    refused = desk.get(url("mark-task-seen", ledger.failed))
    assert (refused.status_code, "it is already marked" in text_of(refused)) == (409, True)


def test_the_audit_is_run_and_its_page_opens(desk: Client, ledger: SimpleNamespace) -> None:
    answer = confirm(desk, url("run-audit"))

    run = AuditRun.objects.latest("id")
    assert answer.url == reverse("admin:wallets_auditrun_change", args=[run.pk])
    assert (run.staff.username, run.result in ("sound", "unsound")) == ("olivia", True)
    assert last_action()[:3] == ("ran_audit", "audit", f"audit {run.pk}")


def test_an_outage_is_rehearsed_on_the_local_network_and_ended(desk: Client, tmp_path: Path, settings: Any) -> None:
    settings.STATE_DIR = tmp_path
    refused = desk.get(url("rehearse-outage"))
    assert refused.status_code == 409
    assert "this installation runs no local network" in text_of(refused)

    with LocalNetwork(tmp_path / "raida", base_port=0) as network, listening(network):
        _, said = confirmation(desk, url("rehearse-outage"), servers="0-12", fault="silent")
        assert said[1] == "12 of 25 will work normally; the quorum is 13. Uploads wait until enough servers work again."
        confirm(desk, url("rehearse-outage"), servers="0-12", fault="silent")
        assert len(Control(tmp_path / "raida").state()["faults"]) == 13
        confirm(desk, url("rehearse-outage"), servers="*", fault="clear")
        assert Control(tmp_path / "raida").state()["faults"] == {}
        wrong = desk.post(url("rehearse-outage"), {"step": "review", "servers": "26", "fault": "silent"})
        assert "servers are numbered 0 to 24" in text_of(wrong)
    assert OperatorAction.objects.count() == 2


ROLES = [None, roles.VIEWER, roles.OPERATOR, roles.ADMINISTRATOR]


@pytest.fixture
def members(db: None) -> Any:
    """A person of each role, and one of none."""
    roles.ensure()
    clients = {}
    for role in ROLES:
        user = User.objects.create_user(role or "nobody", is_staff=True)
        if role:
            user.groups.add(Group.objects.get(name=role))
        clients[role] = Client()
        clients[role].force_login(user)
    return clients


MAY = {
    "create-wallet": {roles.OPERATOR, roles.ADMINISTRATOR},
    "set-password": {roles.OPERATOR, roles.ADMINISTRATOR},
    "revoke-bearer-tokens": {roles.OPERATOR, roles.ADMINISTRATOR},
    "revoke-bearer-token": {roles.OPERATOR, roles.ADMINISTRATOR},
    "end-restricted-key": {roles.OPERATOR, roles.ADMINISTRATOR},
    "end-restricted-keys": {roles.OPERATOR, roles.ADMINISTRATOR},
    "end-trust": {roles.OPERATOR, roles.ADMINISTRATOR},
    "cancel-transfer": {roles.OPERATOR, roles.ADMINISTRATOR},
    "cancel-action-token": {roles.OPERATOR, roles.ADMINISTRATOR},
    "cancel-payment-request": {roles.OPERATOR, roles.ADMINISTRATOR},
    "start-find": {roles.OPERATOR, roles.ADMINISTRATOR},
    "start-fix": {roles.OPERATOR, roles.ADMINISTRATOR},
    "check-coins": {roles.OPERATOR, roles.ADMINISTRATOR},
    "retry-task": {roles.OPERATOR, roles.ADMINISTRATOR},
    "roll-back-task": {roles.OPERATOR, roles.ADMINISTRATOR},
    "mark-task-seen": {roles.OPERATOR, roles.ADMINISTRATOR},
    "run-audit": {roles.OPERATOR, roles.ADMINISTRATOR},
    "disable-webhook": {roles.OPERATOR, roles.ADMINISTRATOR},
    "enable-webhook": {roles.OPERATOR, roles.ADMINISTRATOR},
    "test-webhook": {roles.OPERATOR, roles.ADMINISTRATOR},
    "resend-delivery": {roles.OPERATOR, roles.ADMINISTRATOR},
    "acknowledge-alert": {roles.OPERATOR, roles.ADMINISTRATOR},
    "issue-tokens": {roles.ADMINISTRATOR},
    "pseudonymise-wallet": {roles.ADMINISTRATOR},
    "create-api-key": {roles.ADMINISTRATOR},
    "rotate-api-key": {roles.ADMINISTRATOR},
    "revoke-api-key": {roles.ADMINISTRATOR},
    "rehearse-outage": {roles.ADMINISTRATOR},
    "create-person": {roles.ADMINISTRATOR},
    "change-role": {roles.ADMINISTRATOR},
    "change-mail": {roles.ADMINISTRATOR},
    "change-active": {roles.ADMINISTRATOR},
    "set-person-password": {roles.ADMINISTRATOR},
    "reset-second-factor": {roles.ADMINISTRATOR},
    "end-session": {roles.ADMINISTRATOR},
    "end-sessions": {roles.ADMINISTRATOR},
}


# Pages without a row that a role opens, and a person without one does not.
PAGES = ["live", "tiles", "proposals", *(f"report_{kind}" for kind in reports_of_admin.KINDS)]


def test_every_page_and_every_act_by_every_role(members: Any, staff: User) -> None:
    ledger = furnish(staff)
    rows = {
        None: None,
        Wallet: ledger.alice,
        ApiKey: ledger.key,
        BearerToken: BearerToken.objects.first(),
        RestrictedKey: ledger.restricted_key,
        LockerTask: ledger.running,
        PaymentRequest: ledger.payment_request,
        Webhook: ledger.webhook,
        WebhookDelivery: ledger.delivery,
        Transfer: Transfer.objects.get(pk=ledger.transfers["pending"].id),
        ActionToken: a_link_of(ledger.alice),
        User: User.objects.create_user("vera", is_staff=True),
        Trust: Trust.objects.get(pk=ledger.trust.id),
        Alert: ledger.alert,
    }
    Client().force_login(rows[User])
    rows[Session] = Session.objects.get(user=rows[User])
    assert {deed.name for deed in registry.ALL} == set(MAY)
    pages = [reverse("admin:index"), *(reverse(f"admin:{name}") for name in PAGES)]
    pages.append(reverse("admin:report_wallet", args=[ledger.alice.pk]))
    for model in admin.site._registry:
        name = f"{model._meta.app_label}_{model._meta.model_name}"
        if model is User:
            continue
        pages.append(reverse(f"admin:{name}_changelist"))
        pages.append(reverse(f"admin:{name}_csv"))
        pages.append(reverse(f"admin:{name}_change", args=[model._default_manager.order_by("pk").first().pk]))

    actions = OperatorAction.objects.count()
    for role, client in members.items():
        for page in pages:
            # The home is for all staff; everything else is for those who may see.
            wanted = 200 if role or page == pages[0] else 403
            assert client.get(page).status_code == wanted, (role, page)
        for deed in registry.ALL:
            address = url(deed.name, rows[deed.model])
            got, sent = (
                client.get(address),
                client.post(address, {"step": "confirm", "ticket": "forged", "reason": "as asked"}),
            )
            if role in MAY[deed.name]:
                assert got.status_code in (200, 409), (role, deed.name)
                assert sent.status_code in (200, 409), (role, deed.name)
            else:
                assert (got.status_code, sent.status_code) == (403, 403), (role, deed.name)
        for deed in registry.ALL:
            if not deed.label_for_many:
                continue
            address = reverse(f"admin:many-{deed.name}")
            sent = client.post(address, {"step": "confirm", "ticket": "forged", "reason": "as asked"})
            # The form of an action with fields was sent without their values.
            wanted = (400 if deed.has_questions else 409) if role in MAY[deed.name] else 403
            assert sent.status_code == wanted, (role, deed.name)
    assert OperatorAction.objects.count() == actions
    assert Client().get(url("run-audit")).status_code == 302


def test_what_a_role_may_not_do_is_one_line(members: Any, staff: User) -> None:
    ledger = furnish(staff)

    shown = text_of(members[roles.VIEWER].get(reverse("admin:wallets_wallet_change", args=[ledger.alice.pk])))

    assert (
        shown.count(
            "Your role does not allow: Issue tokens, Set a new password, Pseudonymise, Revoke all bearer tokens,"
        )
        == 1
    )
    assert "button off" not in shown


def test_the_roles_are_made_again_as_they_were(db: None) -> None:
    roles.ensure()
    Group.objects.get(name=roles.VIEWER).permissions.set(Group.objects.get(name=roles.ADMINISTRATOR).permissions.all())

    roles.ensure()

    assert Group.objects.get(name=roles.VIEWER).permissions.count() == len(roles.ROLES[roles.VIEWER])
    assert Group.objects.count() == 3
