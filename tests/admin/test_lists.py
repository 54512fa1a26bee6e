"""The lists of the desk: filters, files, and what they cost."""

import csv
import io
import json
from datetime import timedelta
from types import SimpleNamespace
from typing import Any

import pytest
from django.contrib.admin import site
from django.contrib.auth.models import User
from django.db import connection
from django.test import Client
from django.test.utils import CaptureQueriesContext
from django.urls import reverse

from config.admin import base, csv_export, sessions
from config.admin.models import Alert, Request
from config.admin.transfers import TransferPage
from config.ops import request_log
from lockers.models import LockerTask
from tests.support.admin_lists import LISTS
from transfers import action_tokens
from transfers import operations as transfers
from transfers.models import Transfer
from wallets import operations as wallets
from wallets.models import Wallet
from webhooks import operations as webhooks


def rows(response: Any) -> Any:
    return {str(row.pk) for row in response.context["cl"].result_list}


def file_of(client: Any, name: Any, query: str = "") -> Any:
    response = client.get(reverse(f"admin:{name}_csv") + query)
    assert response.status_code == 200
    assert response["Content-Type"] == "text/csv; charset=utf-8"
    assert response.streaming
    content = b"".join(response.streaming_content)
    assert content.startswith(b"\xef\xbb\xbf")
    return list(csv.reader(io.StringIO(content.decode("utf-8-sig"))))


@pytest.mark.parametrize(
    ("query", "found"),
    [
        ("", ["completed", "pending", "requested", "cancelled", "accepted"]),
        ("?state=open", ["pending", "requested"]),
        ("?state=pending", ["pending"]),
        ("?state=completed", ["completed", "accepted"]),
        ("?state=cancelled", ["cancelled"]),
        ("?state=failed", []),
        ("?need=yes", []),
        ("?waits=hour", ["pending", "requested"]),
        ("?waits=older", []),
        ("?wallet=sapling", ["completed"]),
        ("?wallet=bobby&state=completed", ["accepted"]),
        ("?wallet=nobody", []),
        ("?wallet=%00", ["completed", "pending", "requested", "cancelled", "accepted"]),
        ("?q=no-id", []),
    ],
)
def test_a_filter_shows_its_transfers_and_the_file_has_the_same(
    desk: Client, ledger: SimpleNamespace, query: str, found: Any
) -> None:
    shown = desk.get(reverse("admin:transfers_transfer_changelist") + query)
    lines = file_of(desk, "transfers_transfer", query)

    assert rows(shown) == {str(ledger.transfers[name].id) for name in found}
    assert {line[0] for line in lines[1:]} == rows(shown)
    assert lines[0][:4] == ["id", "state", "tokens", "source"]


@pytest.mark.parametrize(
    ("query", "found"),
    [
        ("coins_from=5", [5, 12]),
        ("coins_from=5.00000001", [12]),
        ("coins_to=5", [5]),
        ("coins_to=4.99999999", []),
        ("coins_from=1&coins_to=1,000.5", [5, 12]),
        ("coins_from=-1", []),
        ("coins_from=%D9%A5", []),
        ("coins_from=1e3", []),
        (f"coins_from={'9' * 30}", []),
    ],
)
def test_a_list_of_amounts_is_narrowed_by_coins(
    desk: Client, ledger: SimpleNamespace, query: str, found: list[int]
) -> None:
    shown = desk.get(reverse("admin:lockers_paymentrequest_changelist") + f"?{query}").context["cl"].result_list

    assert sorted(row.amount for row in shown) == [units * 10**8 for units in found]


def test_an_id_is_no_name_in_a_filter_or_a_search(desk: Client, ledger: SimpleNamespace) -> None:
    """An earlier version stored a wallet that is named like the id of another."""
    impostor = Wallet.objects.create(name=str(ledger.bob.pk), name_key=str(ledger.bob.pk))
    mine, its = (
        rows(desk.get(reverse("admin:transfers_transfer_changelist") + f"?wallet={wallet.pk}"))
        for wallet in (ledger.bob, impostor)
    )
    found = rows(desk.get(reverse("admin:wallets_wallet_changelist") + f"?q={ledger.bob.pk}"))

    assert len(mine) > 1
    assert its == set()
    assert found == {str(ledger.bob.pk)}


def test_a_value_that_no_filter_has_is_not_taken_for_another(desk: Client, ledger: SimpleNamespace) -> None:
    response = desk.get(reverse("admin:transfers_transfer_changelist") + "?state=lost")

    assert (response.status_code, response["Location"]) == (302, "/admin/transfers/transfer/?e=1")


@pytest.mark.parametrize("name", LISTS)
def test_a_list_takes_as_many_statements_for_many_rows_as_for_few(
    desk: Client, ledger: SimpleNamespace, monkeypatch: pytest.MonkeyPatch, name: Any
) -> None:
    # A request more than a minute after the last one also updates the session.
    monkeypatch.setattr(sessions, "_TOUCHED_EVERY", timedelta(days=1))

    def statements(url: Any) -> Any:
        with CaptureQueriesContext(connection) as captured:
            assert desk.get(url).status_code == 200
        return len(captured)

    url = reverse(f"admin:{name}_changelist")
    few = statements(url)
    people = [User.objects.create_user(name) for name in ("ursula", "vera")]
    for number in range(5):
        wallet = wallets.create_wallet(name=f"wallet-{number}", password="secret")
        transfers.issue_tokens(wallet=wallet, count=2)
        transfers.send_bundle(actor=ledger.alice, sender="alice", receiver=wallet.name, size=1)
        wallets.create_api_key(name=f"key {number}")
        wallets.authenticate(name_or_id=wallet.name, password="secret")
        LockerTask.objects.create(
            kind="put", wallet=wallet, actor=wallet, receipt_id=f"{number:032x}", deadline=wallet_time()
        )
        webhook = webhooks.create(actor=wallet, url=f"https://shop.example/{number}").webhook
        webhooks.send_test(actor=wallet, webhook_id=webhook.pk)
        action_tokens.offer_bundles(actor=wallet, sender=None, size=1)
        now = wallet_time()
        Alert.objects.create(
            kind="audit", subject=str(number), title="audit", opened_at=now, seen_at=now, noticed_at=now,
            acknowledged_at=now, acknowledged_by=people[number % 2],
        )  # fmt: skip
        Request.objects.create(
            id=request_log.first_id(now) + number, method="GET", route="/wallets", status=200, milliseconds=4,
            wallet=wallet, request_id=str(number),
        )  # fmt: skip

    assert statements(url) == few <= 8


def wallet_time() -> Any:
    return Wallet.objects.latest("created_at").created_at


def test_more_rows_than_are_counted_are_not_counted(
    desk: Client, ledger: SimpleNamespace, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(base, "COUNTED_ROWS", 3)

    with CaptureQueriesContext(connection) as captured:
        shown = desk.get(reverse("admin:transfers_transfer_changelist"))

    assert b"more than 3 transfers" in shown.content
    counts = [query["sql"] for query in captured if "COUNT(" in query["sql"]]
    assert len(counts) == 1
    assert "LIMIT 4" in counts[0]


@pytest.mark.parametrize("text", ["=1+1", "+1", "-1", "@SUM(A1)", "\t=1", "\r=1", " =1"])
def test_text_that_a_spreadsheet_would_run_is_written_as_text(desk: Client, ledger: SimpleNamespace, text: str) -> None:
    Wallet.objects.filter(pk=ledger.bob.pk).update(about=text)

    lines = file_of(desk, "wallets_wallet", "?q=bobby")

    assert [line[3] for line in lines] == ["about", f"'{text}"]


def test_a_phone_number_and_umlauts_come_back_as_they_are(desk: Client, ledger: SimpleNamespace) -> None:
    Wallet.objects.filter(pk=ledger.bob.pk).update(name="+254712345678", about="grüne Bäume")

    assert [line[1:4:2] for line in file_of(desk, "wallets_wallet", "?q=bobby")] == [
        ["name", "about"],
        ["+254712345678", "grüne Bäume"],
    ]


# Headings of lists that the file says in another word, or in several columns; the rest it says as they are.
IN_OTHER_WORDS = {
    "begun": {"started at", "created at"}, "made": {"created at"}, "when": {"at"}, "issued": {"created at"},
    "created": {"created at"}, "changed": {"changed at", "updated at"}, "closed": {"closed at"},
    "ended": {"finished at"}, "took": {"finished at"}, "last used": {"last used at"}, "expires": {"expires at"},
    "who": {"by"}, "holder": {"wallet"}, "of": {"object"}, "from": {"source"}, "to": {"destination"},
    "value": {"denomination"}, "coins": {"amount"}, "on servers": {"servers"}, "asked": {"request"},
    "payment request": {"id"}, "payee": {"wallet"}, "for": {"description"}, "until": {"expires at"},
    "transfer": {"id"}, "locker": {"id"}, "trust": {"actor"}, "task": {"kind"},
    "time (utc)": {"time (UTC)"}, "api key": {"API key"},
    "request type": {"request"},
}  # fmt: skip
IN_OTHER_WORDS_OF = {
    # A token is reserved by a transfer or it is free.
    "wallets_token": {"state": {"reserved by"}},
    "desk_alert": {
        "alert": {"title"}, "last value": {"state"}, "began": {"opened at"}, "ended": {"closed at"},
    },
    "transfers_actiontoken": {"claim link": {"id"}, "from": {"sender"}},
    "webhooks_webhook": {"events of": {"wallet"}},
    "webhooks_webhookdelivery": {"answer": {"status"}, "attempts": {"attempt"}},
}  # fmt: skip


def test_no_column_is_hidden_by_a_field_of_its_name() -> None:
    """Django shows the field of the row instead of the column of the page."""
    pages = [page for page in site._registry.values() if isinstance(page, base.LedgerPage)]
    fields = {page: {field.name for field in page.model._meta.get_fields() if field.concrete} for page in pages}

    assert pages
    shown = [(page, name) for page in pages for name in page.list_display if hasattr(page, str(name))]
    assert [(page, name) for page, name in shown if name in fields[page]] == []


@pytest.mark.parametrize("name", LISTS)
def test_a_file_has_the_columns_that_its_list_shows(desk: Client, ledger: SimpleNamespace, name: Any) -> None:
    heads = {head.label.lower() for head in desk.get(reverse(f"admin:{name}_changelist")).context["cl"].heads}

    columns = set(file_of(desk, name)[0])

    words = IN_OTHER_WORDS | IN_OTHER_WORDS_OF.get(name, {})
    assert [head for head in heads if not (words.get(head, set()) | {head}) & columns] == []


def test_the_file_of_wallets_says_what_each_holds(desk: Client, ledger: SimpleNamespace) -> None:
    lines = file_of(desk, "wallets_wallet")

    columns = [lines[0].index(name) for name in ("name", "tokens", "reserved", "password")]
    told = {tuple(line[column] for column in columns) for line in lines[1:]}
    shown = desk.get(reverse("admin:wallets_wallet_changelist")).context["cl"].result_list
    assert told == {
        (
            wallet.name,
            str(wallet.counts.total),
            str(wallet.counts.pending),
            "has one" if wallet.has_password else "none",
        )
        for wallet in shown
    }
    assert any(int(reserved) for _, _, reserved, _ in told)


def test_a_number_stays_a_number() -> None:
    assert [csv_export.cell(value) for value in (-5, 0, None, "a", 1.5)] == ["-5", "0", "", "a", "1.5"]


def test_live_answers_say_when_nothing_moved(desk: Client, ledger: SimpleNamespace) -> None:
    url = reverse("admin:live") + f"?task={ledger.running.pk}&task={ledger.failed.pk}&task=nonsense"

    first = desk.get(url)
    second = desk.get(url, headers={"If-None-Match": first["ETag"]})
    LockerTask.objects.filter(pk=ledger.running.pk).update(progress=41)
    third = desk.get(url, headers={"If-None-Match": first["ETag"]})

    told = {task["id"]: task for task in json.loads(first.content)["tasks"]}
    assert json.loads(first.content)["running"] is True
    assert told[str(ledger.running.pk)]["progress"] == 40
    assert [cell[1] for cell in told[str(ledger.running.pk)]["cells"]] == [*"✓✓✓✓✓✓✓✓✓✓✓✓✗?–·!········"]
    assert (second.status_code, second.content, second["ETag"]) == (304, b"", first["ETag"])
    assert third.status_code == 200
    assert third["ETag"] != first["ETag"]


def test_a_stranger_gets_the_login_and_nothing_else(ledger: SimpleNamespace) -> None:
    addresses = [reverse("admin:index"), reverse("admin:live")]
    addresses += [reverse(f"admin:{name}_{what}") for name in LISTS for what in ("changelist", "csv")]

    answers = [Client().get(address) for address in addresses]

    assert {answer.status_code for answer in answers} == {302}
    assert all(answer["Location"].startswith("/admin/login/") for answer in answers)
    assert all("script-src 'self'" in answer["Content-Security-Policy"] for answer in answers)


def test_a_transfer_says_who_may_do_what_and_why_not(desk: Client, ledger: SimpleNamespace) -> None:
    pending = desk.get(reverse("admin:transfers_transfer_change", args=[ledger.transfers["pending"].id]))
    done = desk.get(reverse("admin:transfers_transfer_change", args=[ledger.transfers["accepted"].id]))

    assert [(each.event, each.is_possible, each.why) for each in pending.context["possible"]] == [
        ("accept", True, "by bobby, or by a wallet that manages it"),
        ("fulfill", False, "not possible: it is pending"),
        ("decline", True, "by bobby, or by a wallet that manages it"),
        ("delete", True, "by alice, or by a wallet that manages it"),
        ("expire", False, "not possible: it names no time at which it expires"),
    ]
    assert [(station.state, station.words, station.is_reached) for station in done.context["strip"]] == [
        ("pending", "alice offered tokens to bobby", True),
        ("completed", "accepted by bobby", True),
    ]
    assert pending.context["strip"][0].words == "alice offered tokens to bobby; they are reserved"
    assert [each.is_possible for each in done.context["possible"]] == [False] * 5
    assert len(pending.context["tokens"]) == 2
    assert len(done.context["tokens"]) == 4


def test_a_transfer_that_was_closed_before_its_import_names_no_time_and_no_event(
    desk: Client, ledger: SimpleNamespace
) -> None:
    page, columns = site._registry[Transfer], dict(TransferPage.csv_columns)
    assert isinstance(page, TransferPage)
    cancelled = Transfer.objects.get(pk=ledger.transfers["cancelled"].id)
    assert "ago" in page.closed(cancelled)
    assert (columns["closed at"](cancelled), columns["closed by"](cancelled)) == (cancelled.closed_at, "decline")

    # As the import writes it. Not saved, since no other program may write a transfer.
    cancelled.closed_event = ""

    assert page.closed(cancelled) == "before import"
    assert (columns["closed at"](cancelled), columns["closed by"](cancelled)) == (None, "before import")


def test_a_wallet_shows_its_images_as_addresses_and_the_beginning_of_a_long_description(
    desk: Client, ledger: SimpleNamespace
) -> None:
    logo, cover = "https://example.org/logo.png", "javascript:alert(1)"
    Wallet.objects.filter(pk=ledger.alice.pk).update(about="x" * 600, logo_url=logo, cover_url=cover)

    shown = desk.get(reverse("admin:wallets_wallet_change", args=[ledger.alice.pk]))

    facts = {fact.label: fact for fact in shown.context["facts"]}
    assert [(facts[name].value, facts[name].url) for name in ("logo", "cover")] == [(logo, ""), (cover, "")]
    assert b"<img" not in shown.content
    assert (facts["about"].value, facts["about"].note) == ("x" * 500 + "…", "the first 500 of 600 characters")


def test_a_token_tells_its_way_from_issue_to_holder(desk: Client, ledger: SimpleNamespace) -> None:
    transfer = Transfer.objects.get(pk=ledger.transfers["accepted"].id)
    token = transfer.movements.first().token

    shown = desk.get(reverse("admin:wallets_token_change", args=[token.pk]))

    told = [(stage.number, stage.source, stage.destination, stage.transfer_id) for stage in shown.context["history"]]
    assert told == [(0, "", "alice", None), (1, "alice", "bobby", transfer.pk)]
