"""The home of the desk: its numbers, its pictures, and what it costs."""

import re
from datetime import timedelta
from types import SimpleNamespace
from typing import Any

import pytest
from django.contrib.auth.models import Group, User
from django.db import connection
from django.test import Client
from django.test.utils import CaptureQueriesContext
from django.urls import reverse
from django.utils import timezone

from config.admin import charts, dashboard, roles, server_grid
from lockers import reports as lockers
from lockers.models import LockerTask, ReceiptLine, ServerReading
from transfers import audit, counters, reports
from transfers import operations as transfers
from transfers.models import Issue, Transfer
from wallets import operations as wallets
from wallets.models import AuditRun, Token
from wallets.states import AuditResult


def statements(client: Any, url: Any) -> Any:
    with CaptureQueriesContext(connection) as captured:
        response = client.get(url)
    assert response.status_code == 200
    return len(captured)


def tiles(response: Any) -> Any:
    return {tile.what: (tile.value, tile.css) for tile in response.context["home"].tiles}


def test_each_number_is_that_of_the_rows(desk: Client, ledger: SimpleNamespace) -> None:
    shown = desk.get(reverse("admin:index"))

    assert tiles(shown) == {
        "tokens issued = held": ("20", "good"),
        "tokens reserved": ("2", "good"),
        "oldest open transfer": (tiles(shown)["oldest open transfer"][0], "good"),
        "last audit": ("sound", "good"),
        "last seal": ("none", "wait"),
        "coins in wallets": ("111", ""),
        "coins in doubt": ("1", "wait"),
        "thin lockers and coins": ("0 and 0", "good"),
        "tasks that need action": ("1", "bad"),
        "webhooks": ("1", "good"),
        "servers": ("24 of 25", "wait"),
    }
    assert [column.total for column in shown.context["home"].columns] == [0] * 29 + [5]
    assert {entry.name: entry.count for entry in shown.context["home"].legend} == {
        "completed": 2, "pending": 1, "requested": 1, "cancelled": 1, "failed": 0,
    }  # fmt: skip
    assert shown.context["home"].summary.pending.by_age == (1, 0, 0, 0, 0)
    assert shown.context["home"].summary.requested.by_age == (1, 0, 0, 0, 0)


def test_every_number_links_to_a_list_that_opens(desk: Client, ledger: SimpleNamespace) -> None:
    page = desk.get(reverse("admin:index")).content.decode()

    links = set(re.findall(r'href="(/admin/[^"]+)"', page)) - {reverse("admin:logout")}
    answers = {link: desk.get(link.replace("&amp;", "&")).status_code for link in links}

    assert len(links) > 30
    assert {link: status for link, status in answers.items() if status != 200} == {}


def test_it_takes_as_many_statements_for_many_rows_as_for_few(desk: Client, ledger: SimpleNamespace) -> None:
    few = [statements(desk, reverse("admin:index") + f"?days={days}") for days in (30, 90)]
    for number in range(6):
        wallet = wallets.create_wallet(name=f"wallet-{number}")
        transfers.issue_tokens(wallet=wallet, count=3)
        transfers.send_bundle(actor=ledger.alice, sender="alice", receiver=wallet.name, size=1)
    now = timezone.now()
    LockerTask.objects.bulk_create(
        LockerTask(
            kind="put", wallet=ledger.alice, actor=ledger.alice, receipt_id=f"{number:032x}",
            deadline=now + timedelta(hours=1),
        )
        for number in range(8)
    )  # fmt: skip

    many = [statements(desk, reverse("admin:index") + f"?days={days}") for days in (30, 90)]

    assert many == few
    assert few[0] == few[1] <= 21


def test_an_unsound_ledger_cannot_be_overlooked(desk: Client, ledger: SimpleNamespace) -> None:
    Issue.objects.create(wallet=ledger.alice, tokens=3, issued_at=timezone.now())
    with connection.cursor() as cursor:
        cursor.execute("ALTER TABLE wallets_token DISABLE TRIGGER USER")
        free = Token.objects.filter(transfer_pending_id=None).first()
        Token.objects.filter(pk=free.pk).update(transfer_pending_id=ledger.transfers["pending"].id)

    shown = desk.get(reverse("admin:index"))

    assert tiles(shown)["tokens issued = held"] == ("23", "bad")
    assert tiles(shown)["tokens reserved"] == ("3", "bad")
    assert b"20 held: 3 missing. Run an audit" in shown.content
    assert b"but pending transfers and claim links say 2. Run an audit" in shown.content


def test_the_ids_that_an_audit_found_lead_to_their_rows(desk: Client, ledger: SimpleNamespace) -> None:
    finding = {"check": "<b>", "detail": f"{ledger.alice.pk} <i>holds</i> 0#3"}
    run = AuditRun.objects.create(
        result=AuditResult.UNSOUND, finished_at=timezone.now(), findings_count=1, findings=[finding]
    )

    page = desk.get(reverse("admin:wallets_auditrun_change", args=[run.pk])).content.decode()

    search = f"{reverse('admin:find')}?q={ledger.alice.pk}"
    assert f'<td><a href="{search}">{ledger.alice.pk}</a> &lt;i&gt;holds&lt;/i&gt; 0#3</td>' in page
    assert desk.get(search).url == reverse("admin:wallets_wallet_change", args=[ledger.alice.pk])  # type: ignore[attr-defined]


@pytest.mark.parametrize(
    ("result", "words"),
    [
        (AuditResult.FAILED, "The audit did not end, so it does not say whether the books are sound."),
        (AuditResult.RUNNING, "The audit has not ended yet."),
    ],
)
def test_an_audit_without_a_result_does_not_say_that_it_found_nothing(
    desk: Client, ledger: SimpleNamespace, result: AuditResult, words: str
) -> None:
    ended = None if result == AuditResult.RUNNING else timezone.now()
    run = AuditRun.objects.create(result=result, finished_at=ended)

    page = desk.get(reverse("admin:wallets_auditrun_change", args=[run.pk]))

    assert words in page.content.decode()
    assert {fact.label: fact.value for fact in page.context["facts"]}["findings"] == "–"


def test_an_audit_finds_tokens_that_nobody_issued(ledger: SimpleNamespace) -> None:
    assert audit.audit_findings() == []
    Issue.objects.create(wallet=ledger.alice, tokens=-3, issued_at=timezone.now())

    assert [(each.check, each.detail) for each in audit.audit_findings()] == [
        ("as many tokens were issued as there are", "20 tokens, 17 issued")
    ]


def test_a_staff_member_without_a_role_sees_nothing_of_the_ledger(ledger: SimpleNamespace) -> None:
    client = Client()
    client.force_login(User.objects.create_user("nora", is_staff=True))

    shown = client.get(reverse("admin:index"))

    assert shown.context["home"] is None
    assert b"Your account has no role yet." in shown.content
    assert b"tokens issued" not in shown.content


def test_an_installation_without_anything_says_what_to_do(desk: Client) -> None:
    shown = desk.get(reverse("admin:index"))

    assert [step.is_done for step in shown.context["home"].open_steps] == [False] * 6
    assert b"No transfer is open." in shown.content
    assert b"No transfer in 30 days." in shown.content


def test_nothing_is_marked_as_good_that_was_not_asked(desk: Client) -> None:
    before = tiles(desk.get(reverse("admin:index")))
    now = timezone.now()
    for raida in range(25):
        old = timedelta(hours=1) if raida < 4 else timedelta()
        ServerReading.objects.create(raida=raida, outcome="answered", answered_at=now - old, latency_ms=20)
    some_old = tiles(desk.get(reverse("admin:index")))
    ServerReading.objects.update(outcome="no answer")
    silent = tiles(desk.get(reverse("admin:index")))

    assert [what for what, (_, css) in before.items() if css == "good"] == ["tasks that need action"]
    assert before["servers"] == ("not asked", "wait")
    assert some_old["servers"] == ("21 of 25", "wait")
    assert silent["servers"] == ("0 of 25", "bad")


@pytest.mark.parametrize(("role", "links"), [(roles.VIEWER, 2), (roles.OPERATOR, 4), (roles.ADMINISTRATOR, 6)])
def test_the_setup_links_to_what_a_role_may_do(db: None, role: str, links: int) -> None:
    roles.ensure()
    client, person = Client(), User.objects.create_user("nora", is_staff=True)
    person.groups.add(Group.objects.get(name=role))
    client.force_login(person)

    steps = client.get(reverse("admin:index")).context["home"].open_steps

    assert [step.is_done for step in steps] == [False] * 6
    assert sum(bool(step.url) for step in steps) == links
    assert all(client.get(step.url).status_code == 200 for step in steps if step.url)


def test_the_list_of_what_to_set_up_goes_when_all_is_done(desk: Client, ledger: SimpleNamespace) -> None:
    assert desk.get(reverse("admin:index")).context["home"].open_steps == ()


def test_days_are_counted_folded_or_not(ledger: SimpleNamespace) -> None:
    today = timezone.now().date()
    expected = [
        (today, "cancelled", 1), (today, "completed", 2), (today, "pending", 1), (today, "requested", 1),
    ]  # fmt: skip

    never_folded = reports.days(since=today)
    assert counters.roll_up()
    folded = reports.days(since=today)
    transfers.send_bundle(actor=ledger.alice, sender="alice", receiver="sapling", size=1)

    assert never_folded == folded == expected
    assert reports.days(since=today)[1] == (today, "completed", 3)
    assert reports.days(since=today + timedelta(days=1)) == []
    assert Transfer.objects.count() == 6


def test_bars_are_stacked_from_the_bottom_and_say_their_numbers() -> None:
    columns = [
        charts.Column("2026-01-01", [("s-a", "completed", 3), ("s-b", "<failed>", 1)]),
        charts.Column("2026-01-02", [("s-a", "completed", 0), ("s-b", "<failed>", 0)]),
    ]

    drawn = charts.stacked(columns, label="Two days")

    assert '<rect class="s-a" x="0.09" y="25.00" width="0.82" height="75.00">' in drawn
    assert '<rect class="s-b" x="0.09" y="0.00" width="0.82" height="25.00">' in drawn
    assert "<title>2026-01-01: completed 3, &lt;failed&gt; 1</title>" in drawn
    assert "<title>2026-01-02: none</title>" in drawn
    assert 'role="img" aria-label="Two days"' in drawn
    assert "style=" not in drawn


def test_one_among_thousands_can_still_be_seen() -> None:
    drawn = charts.stacked([charts.Column("day", [("s-b", "b", 1), ("s-a", "a", 9999)])], label="")

    assert '<rect class="s-b" x="0.09" y="98.00" width="0.82" height="2.00">' in drawn
    assert '<rect class="s-a" x="0.09" y="0.00" width="0.82" height="98.00">' in drawn


def test_each_letter_and_answer_has_a_mark_of_its_own() -> None:
    board = server_grid.of_board("pfnedbuw" + "p" * 17)
    answers = server_grid.of_answers([241, 242, -2, -3, -5, 17, None, -1, -8, -7])

    assert [cell.mark for cell in board[:8]] == ["✓", "✗", "?", "!", "–", "!", "·", "›"]
    assert [cell.mark for cell in answers] == ["✓", "✗", "?", "–", "!", "!", "·", "…", "›", "·"]
    assert (board[7].title, board[2].title) == ("RAIDA 7: answer outstanding", "RAIDA 2: no answer")
    assert answers[0].title == "RAIDA 0: answered 241, all pass"


@pytest.mark.parametrize(("text", "days"), [(None, 30), ("30", 30), ("90", 90), ("7", 30), ("x", 30)])
def test_only_periods_that_are_offered_are_shown(text: str | None, days: int) -> None:
    assert dashboard.days_asked(text) == days


def test_a_task_needs_a_human_while_its_coins_are_unknown(ledger: SimpleNamespace) -> None:
    in_need = lockers.tasks_in_need(LockerTask.objects.all())
    assert [task.pk for task in in_need.all()] == [ledger.failed.pk]

    # That the same wallet did the same since settles nothing.
    later = LockerTask.objects.create(
        kind="take", wallet=ledger.alice, actor=ledger.alice, receipt_id="a" * 32, deadline=timezone.now(),
        state="completed", step="done", progress=100, finished_at=timezone.now(),
    )  # fmt: skip
    assert [task.pk for task in in_need.all()] == [ledger.failed.pk]

    ReceiptLine.objects.filter(task=ledger.failed).update(became="bank", settled_by=later)
    assert list(in_need.all()) == []
