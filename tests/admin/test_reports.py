"""Reports of tokens and coins, and the statement of a wallet, on the desk."""

import csv
import io
import itertools
from datetime import UTC, date, datetime, timedelta
from types import SimpleNamespace
from typing import Any

import pytest
from django.contrib.auth.models import Group, Permission, User
from django.test import Client
from django.urls import reverse
from django.utils import timezone

from config.admin import reports, roles
from lockers import reports as locker_reports
from lockers.models import Coin, LockerTask, ReceiptLine
from lockers.states import DOUBTFUL, CoinState, TaskKind
from tests.admin.conftest import a_link_of
from transfers import balances, counters, token_reports
from transfers import operations as transfers
from transfers.models import WalletDay
from transfers.token_reports import Period, WalletTotal
from trusts import operations as trusts
from wallets import operations as wallets


def shown(client: Client, name: str, query: str = "", *args: object) -> str:
    response = client.get(reverse(f"admin:{name}", args=args) + query)
    assert response.status_code == 200
    return response.content.decode()


def file_of(client: Client, name: str, query: str = "?format=csv", *args: object) -> list[list[str]]:
    response: Any = client.get(reverse(f"admin:{name}", args=args) + query)
    assert response.status_code == 200
    assert response.streaming
    content = b"".join(response.streaming_content).decode("utf-8-sig")
    return list(csv.reader(io.StringIO(content)))


def test_a_report_by_wallet_has_the_numbers_of_the_statements(desk: Client, ledger: SimpleNamespace) -> None:
    assert counters.roll_up()

    heads, *lines = file_of(desk, "report_wallets")

    assert heads == ["id", "name", "held at the end", "received", "sent", "issued"]
    assert lines == [
        [str(ledger.alice.pk), "alice", "13", "0", "7", "20"],
        [str(ledger.bob.pk), "bobby", "4", "4", "0", "0"],
        [str(ledger.sapling.pk), "sapling", "3", "3", "0", "0"],
    ]
    for line in lines:
        assert balances.balance(wallet_id=line[0]).tokens == int(line[2])  # type: ignore[arg-type]
    page = shown(desk, "report_wallets")
    assert page.index("alice</a>") < page.index("bobby</a>") < page.index("sapling</a>")
    # A row leads to the statement of its wallet in the same period.
    today = timezone.now().date()
    start = today.replace(day=1)
    assert f"{reverse('admin:report_wallet', args=[ledger.bob.pk])}?start={start}&amp;end={today}" in page


def test_a_manager_is_summed_up_with_its_wallets(desk: Client, ledger: SimpleNamespace) -> None:
    assert counters.roll_up()

    assert file_of(desk, "report_managers")[1:] == [[str(ledger.alice.pk), "alice", "16", "3", "7", "20", "1"]]
    assert f"/trusts/trust/?wallet={ledger.alice.pk}" in shown(desk, "report_managers")


def test_months_show_tokens_as_well_as_transfers(desk: Client, ledger: SimpleNamespace) -> None:
    assert counters.roll_up()
    month = f"{timezone.now():%Y-%m}"

    assert file_of(desk, "report_months")[1:] == [[month, "20", "7", "20"]]
    page = shown(desk, "report_months")
    assert "tokens moved 7" in page
    assert "transfers 2" in page


def test_months_without_movements_are_shown(desk: Client, ledger: SimpleNamespace) -> None:
    assert counters.roll_up()
    # Move everything to November, except what sapling received.
    WalletDay.objects.update(day=date(2025, 11, 28))
    WalletDay.objects.filter(wallet=ledger.sapling).update(day=date(2026, 1, 5))
    months = file_of(desk, "report_months", "?format=csv&start=2025-10-01&end=2026-02-10")[1:]
    assert months == [
        ["2025-11", "20", "4", "20"],
        ["2025-12", "20", "0", "0"],
        ["2026-01", "20", "3", "0"],
        ["2026-02", "20", "0", "0"],
    ]
    page = shown(desk, "report_months", "?start=2025-12-01&end=2026-02-10")
    assert [month in page for month in ("November 2025", "December 2025", "February 2026")] == [False, True, True]
    # Not a month of the future, and none before the first token.
    assert (
        file_of(desk, "report_months", "?format=csv&start=1900-01-01&end=9998-12-31")[-1][0]
        == f"{timezone.now():%Y-%m}"
    )
    assert file_of(desk, "report_months", "?format=csv&start=1900-01-01&end=2025-10-31")[1:] == []


def by_pages(period: Period, *, by_manager: bool) -> list[WalletTotal]:
    """The report by pages of two, the last of them empty."""
    rows: list[WalletTotal] = []
    while page := token_reports.totals(period, by_manager=by_manager, limit=2, after=rows[-1].id if rows else None):
        rows += page
    return rows


def test_pages_have_what_the_whole_report_has(desk: Client, ledger: SimpleNamespace) -> None:
    zelkova = wallets.create_wallet(name="zelkova")
    for manager, name in ((zelkova, "aspen"), (zelkova, "birch"), (ledger.bob, "cedar")):
        trusts.open_managed_wallet(actor=manager, name=name)
    assert counters.roll_up()
    WalletDay.objects.filter(wallet=ledger.alice).update(day=date(2025, 11, 28))
    for period in (Period(date(2025, 11, 1), date(2025, 12, 1)), Period(date(2026, 1, 1), date(9999, 1, 1))):
        whole = list(token_reports.all_totals(period))
        assert by_pages(period, by_manager=False) == whole
        assert any(row.held for row in whole)
        assert [row.name for row in whole] == [
            "alice", "aspen", "birch", "bobby", "cedar", "sapling", "zelkova",
        ]  # fmt: skip
        managers = list(token_reports.all_totals(period, by_manager=True))
        assert by_pages(period, by_manager=True) == managers
        assert [(row.name, row.managed) for row in managers] == [("alice", 1), ("bobby", 1), ("zelkova", 2)]
        numbers = {row.name: (row.held, row.received, row.sent, row.issued) for row in whole}
        # The last ones never moved a token.
        groups = (("alice", "sapling"), ("bobby", "cedar"), ("zelkova", "aspen", "birch"))
        assert [(row.held, row.received, row.sent, row.issued) for row in managers] == [
            tuple(map(sum, zip(*(numbers[name] for name in group), strict=True))) for group in groups
        ]
        assert numbers["zelkova"] == (0, 0, 0, 0)


@pytest.mark.parametrize("page", ["transfers_transfer", "transfers_actiontoken"])
def test_lists_are_narrowed_to_numbers_of_tokens(desk: Client, ledger: SimpleNamespace, page: str) -> None:
    address = reverse(f"admin:{page}_changelist")
    a_link_of(ledger.alice)

    def sizes(**query: str) -> list[int]:
        response = desk.get(address, query)
        assert response.status_code == 200
        return sorted(row.token_count for row in response.context["cl"].result_list)

    every = sizes()
    for least, most in (("", ""), ("2", ""), ("", "2"), ("2", "3"), ("3", "2"), ("1,000", ""), ("0", "999999999")):
        wanted = [n for n in every if n >= int(least.replace(",", "") or 0) and n <= int(most or 10**9)]
        assert sizes(tokens_from=least, tokens_to=most) == wanted
    assert len(set(every)) > (1 if page == "transfers_transfer" else 0)
    for wrong in ("x", "-1", "1.5", "9999999999", "²"):
        assert sizes(tokens_from=wrong) == sizes(tokens_to=wrong) == []


def test_coins_are_counted_by_denomination(desk: Client, ledger: SimpleNamespace) -> None:
    assert file_of(desk, "report_coins") == [
        ["denomination", "put", "taken", "imported", "held now"],
        ["100", "0", "0", "0", "1"],
        ["10", "0", "0", "0", "1"],
        ["1", "0", "0", "0", "1"],
    ]
    assert "?denomination=2" in shown(desk, "report_coins")


@pytest.mark.django_db
def test_the_report_of_coins_is_the_model_for_each_kind_state_and_time() -> None:
    """A line counts by the state that its coin got in the end; a task by when it ended, in whole days."""
    wallet = wallets.create_wallet(name="alice")
    start, end, tick = datetime(2025, 3, 1, tzinfo=UTC), datetime(2025, 3, 8, tzinfo=UTC), timedelta(microseconds=1)
    times = (start - tick, start, end - tick, end)
    tasks = LockerTask.objects.bulk_create(
        LockerTask(
            kind=kind, wallet=wallet, actor=wallet, state="error", step="done", deadline=at, finished_at=at,
            receipt_id=f"{number:032x}",
        )
        for number, (kind, at) in enumerate(itertools.product(TaskKind, times))
    )  # fmt: skip
    # One of a period is without lines.
    empty = LockerTask(kind=TaskKind.PUT, wallet=wallet, actor=wallet, state="error", step="done", deadline=start)
    empty.finished_at, empty.receipt_id = start, "f" * 32
    empty.save(force_insert=True)
    became = (None, CoinState.BANK, CoinState.FRACKED, CoinState.LOCKED, CoinState.MISSED)
    serial = itertools.count(1)
    lines = [
        ReceiptLine(
            task=task, denomination=denomination, serial_number=next(serial), pown="p" * 25, state=state, became=later,
            settled_by=later and task,
        )
        for task, state, later, denomination in itertools.product(tasks, CoinState, became, (0, 3))
        if later is None or state in DOUBTFUL
    ]  # fmt: skip
    # The two denominations get different counts.
    lines = [line for line in lines if line.denomination or line.state != CoinState.FRACKED]
    ReceiptLine.objects.bulk_create(lines)
    Coin.objects.bulk_create(
        Coin(
            wallet=wallet, denomination=denomination, serial_number=next(serial), state=state, origin="import",
            secrets=b"x", pown="p" * 25,
        )
        for state, many in ((CoinState.BANK, 2), (CoinState.FRACKED, 1), (CoinState.SENT, 5))
        for denomination in (-2, 3)
        for _ in range(many + denomination % 2)
    )  # fmt: skip

    def count(kind: TaskKind, denomination: int, *states: CoinState) -> int:
        return sum(
            line.task.kind == kind and line.denomination == denomination and (line.became or line.state) in states
            for line in lines
            if line.task.finished_at is not None and start <= line.task.finished_at < end
        )

    spendable = (CoinState.BANK, CoinState.FRACKED)
    assert locker_reports.coins_by_denomination(start, end) == [
        locker_reports.DenominationCount(
            each, count(TaskKind.PUT, each, CoinState.LOCKED), count(TaskKind.TAKE, each, *spendable),
            count(TaskKind.IMPORT, each, *spendable), held,
        )
        for each, held in ((3, 5), (0, 0), (-2, 3))
    ]  # fmt: skip


def test_a_name_that_is_a_formula_is_none_in_the_file(desk: Client, ledger: SimpleNamespace) -> None:
    wallets.create_wallet(name="=1+1")

    assert "'=1+1" in [line[1] for line in file_of(desk, "report_wallets")]


@pytest.mark.parametrize("lines_of_a_page", [1, 2])
def test_the_statement_of_a_wallet_adds_up_on_pages_and_in_the_file(
    desk: Client, ledger: SimpleNamespace, monkeypatch: pytest.MonkeyPatch, lines_of_a_page: int
) -> None:
    monkeypatch.setattr(reports, "_LINES", lines_of_a_page)
    monkeypatch.setattr(reports, "_LINES_OF_CSV", 2)
    url = reverse("admin:report_wallet", args=[ledger.alice.pk])

    pages: list[Any] = [desk.get(url)]
    while pages[-1].context["next"] and len(pages) < 4:
        pages.append(desk.get(pages[-1].context["next"]))

    lines = [[(each["line"].word, each["line"].tokens, each["line"].balance) for each in page.context["lines"]]
             for page in pages]  # fmt: skip
    whole = [("issued", 20, 20), ("sent", -3, 17), ("sent", -4, 13)]
    assert lines == [whole[each : each + lines_of_a_page] for each in range(0, 3, lines_of_a_page)]
    for page in pages:
        assert (page.context["statement"].opening, page.context["statement"].closing) == (0, 13)
    heads, *rows = file_of(desk, "report_wallet", "?format=csv", ledger.alice.pk)
    assert heads == ["time", "type", "transfer", "counterparty", "amount", "balance"]
    assert [row[1:2] + row[3:] for row in rows] == [
        ["issued", "", "20", "20"], ["sent", "sapling", "-3", "17"], ["sent", "bobby", "-4", "13"],
    ]  # fmt: skip
    assert url in shown(desk, "wallets_wallet_change", "", ledger.alice.pk)


def test_a_page_begins_behind_each_position_that_a_line_may_have() -> None:
    at = "2026-01-01T00:00:00+00:00"
    for kind, number in ((0, 0), (2, 2**63 - 1)):
        assert reports._position(f"{at} {kind} {number}") == (datetime(2026, 1, 1, tzinfo=UTC), kind, number)
    for none in (f"{at} -1 0", f"{at} 3 0", f"{at} 0 -1", f"{at} 0 {2**63}", f"{at[:-6]} 0 0", f"{at} 0"):
        assert reports._position(none) is None, none


@pytest.mark.django_db(transaction=True)
def test_what_moves_while_a_file_is_sent_is_not_in_it(ledger: SimpleNamespace, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(reports, "_LINES_OF_CSV", 2)
    today = timezone.now().date()
    lines = reports._all_lines(ledger.alice, reports.Asked(today - timedelta(days=1), today + timedelta(days=1), ""))
    begun = [next(lines)]
    transfers.issue_tokens(wallet=ledger.alice, count=5)

    assert [line.balance for line in (*begun, *lines)] == [20, 17, 13]


def test_the_balance_of_another_day_is_that_of_its_end(desk: Client, ledger: SimpleNamespace) -> None:
    yesterday = timezone.now().date() - timedelta(days=1)

    page = desk.get(reverse("admin:report_wallet", args=[ledger.alice.pk]) + f"?start={yesterday}&end={yesterday}")

    assert (page.context["statement"].opening, page.context["statement"].closing) == (0, 0)
    assert b"Nothing moved in this period." in page.content


@pytest.mark.parametrize(
    "query",
    [
        "?start=2026-02-30", "?start=2026-03-01&end=2026-02-01", "?end=9999-12-31", "?start=0001-01-01", "?start=%00",
        "?after=11111111-1111-4111-8111-111111111111", "?sort=password", "?after=x", "?after=%00",
        "?after=2026-01-01T00:00:00 1 1",
        "?after=2026-01-01T00:00:00%2B00:00 9 1", "?after=0001-01-01T00:00:00%2B00:00 1 99999999999999999999",
    ],
)  # fmt: skip
def test_a_query_that_makes_no_sense_is_answered(desk: Client, ledger: SimpleNamespace, query: str) -> None:
    for kind in reports.KINDS:
        shown(desk, f"report_{kind}", query)
    shown(desk, "report_wallet", query, ledger.alice.pk)


def test_a_wallet_that_is_none_has_no_statement(desk: Client, ledger: SimpleNamespace) -> None:
    for object_id in ("11111111-1111-4111-8111-111111111111", "x"):
        assert desk.get(reverse("admin:report_wallet", args=[object_id])).status_code == 404


def test_each_role_reads_reports_and_an_account_without_a_role_reads_none(db: None, ledger: SimpleNamespace) -> None:
    roles.ensure()
    for role in (None, *roles.ROLES):
        user = User.objects.create_user(f"user-{role}", password="a long password", is_staff=True)
        if role is not None:
            user.groups.add(Group.objects.get(name=role))
        client = Client()
        client.force_login(user)
        statuses = {client.get(reverse(f"admin:report_{kind}")).status_code for kind in reports.KINDS} | {
            client.get(reverse("admin:report_wallet", args=[ledger.alice.pk])).status_code
        }
        assert statuses == ({403} if role is None else {200})


def test_who_sees_one_kind_of_value_sees_the_reports_of_it_alone(db: None, ledger: SimpleNamespace) -> None:
    for model in ("wallet", "coin"):
        user = User.objects.create_user(f"sees-{model}", password="a long password", is_staff=True)
        user.user_permissions.add(Permission.objects.get(codename=f"view_{model}"))
        client = Client()
        client.force_login(user)
        for kind in reports.KINDS:
            status = client.get(reverse(f"admin:report_{kind}")).status_code
            assert status == (200 if (kind == "coins") == (model == "coin") else 403), (model, kind)


def test_a_report_pages_through_all_wallets(
    desk: Client, ledger: SimpleNamespace, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(reports, "_ROWS", 2)

    first = desk.get(reverse("admin:report_wallets"))
    second = desk.get(first.context["next"])

    assert [[row["total"].name for row in page.context["rows"]] for page in (first, second)] == [
        ["alice", "bobby"], ["sapling"],
    ]  # fmt: skip
    assert second.context["next"] == ""
