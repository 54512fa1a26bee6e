"""The page of the request log."""

import re
from datetime import UTC, datetime, timedelta
from types import SimpleNamespace
from typing import Any
from uuid import uuid4

import pytest
from django.conf import LazySettings
from django.contrib.auth.models import Permission, User
from django.db import connection
from django.test import Client
from django.test.utils import CaptureQueriesContext
from django.urls import reverse

from config.admin import requests
from config.admin.links import page_url
from config.admin.models import Request
from config.ops import request_log
from lockers.models import LockerTask
from transfers.models import Transfer
from wallets import redis_servers
from wallets.models import ApiKey, Wallet

LIST = reverse("admin:desk_request_changelist")
# Today, whatever time it is.
NOON = datetime.now(UTC).replace(hour=12, minute=0, second=0, microsecond=0)


@pytest.fixture
def rows(ledger: SimpleNamespace, settings: LazySettings) -> dict[str, Request]:
    """A good request of alice with the key, one refused of bob's, one without credentials, and one of a page."""
    request_log.create_partitions({(NOON + timedelta(days=after)).date() for after in (-1, 0)})
    redis_servers.client(settings.REDIS_URL).delete(request_log.LOST_KEY)
    Request.objects.all().delete()
    common = {"client": "192.0.2.7", "milliseconds": 12.3}

    def row(name: str, at: datetime, **more: Any) -> Request:
        return Request.objects.create(id=request_log.first_id(at), request_id=name, **(common | more))

    alice, bob = {"wallet": ledger.alice, "api_key": ledger.key}, {"wallet": ledger.bob, "api_key": ledger.key}
    return {
        "good": row(
            "good", NOON, method="POST", route="/transfers", status=201, restricted_key=ledger.restricted_key, **alice
        ),
        "refused": row(
            "refused", NOON.replace(hour=10, minute=14, second=30), method="GET", route="/wallets/{wallet_id}",
            status=403, error="wallet_not_controlled", **bob,
        ),
        "stranger": row(
            "stranger", NOON - timedelta(days=1), method="POST", route="/auth", status=401, error="api_key_missing"
        ),
        "page": row(
            "page", NOON + timedelta(hours=1), method="GET", route="/admin", status=302, user=ledger.action.staff
        ),
        "broken": row("broken", NOON + timedelta(hours=2), method="PUT", route="other", status=503, error="old_code"),
    }  # fmt: skip


def shown(desk: Client, query: Any = "") -> list[str]:
    response = desk.get(LIST + query) if isinstance(query, str) else desk.get(LIST, query)
    assert response.status_code == 200
    return [row.request_id for row in response.context["cl"].result_list]


def test_filters_narrow_the_list(desk: Client, ledger: SimpleNamespace, rows: dict[str, Request]) -> None:
    day = f"{NOON:%Y-%m-%d}"
    everything = ["broken", "page", "good", "refused", "stranger"]
    assert shown(desk) == everything
    for query, found in [
        ({"api_key": "partner"}, ["good", "refused"]),
        ({"api_key": str(ledger.key.pk)}, ["good", "refused"]),
        ({"api_key": ledger.key.prefix}, ["good", "refused"]),
        ({"api_key": "nobody"}, []),
        ({"restricted_key": "The shop"}, ["good"]),
        ({"restricted_key": str(ledger.restricted_key.pk)}, ["good"]),
        ({"restricted_key": ledger.restricted_key.prefix}, ["good"]),
        ({"restricted_key": "shop"}, []),
        ({"wallet": "alice"}, ["good"]),
        ({"wallet": str(ledger.bob.pk)}, ["refused"]),
        ({"route": "/transfers"}, ["good"]),
        ({"route": "post /transfers"}, ["good"]),
        ({"route": "GET /transfers"}, []),
        ({"status": "403"}, ["refused"]),
        ({"status": "4xx"}, ["refused", "stranger"]),
        ({"status": "refused"}, ["broken", "refused", "stranger"]),
        ({"status": "5XX"}, ["broken"]),
        ({"status": "3xx"}, ["page"]),
        ({"status": "2xx"}, ["good"]),
        ({"status": "201"}, ["good"]),
        ({"status": "299"}, []),
        ({"status": "٤٠٣"}, []),
        ({"status": "9" * 30}, []),
        ({"error": "wallet_not_controlled"}, ["refused"]),
        ({"error": "wallet"}, []),
        ({"q": "good"}, ["good"]),
        ({"q": "refused"}, ["refused"]),
        ({"since": day}, ["broken", "page", "good", "refused"]),
        ({"until": f"{NOON - timedelta(days=1):%Y-%m-%d}"}, ["stranger"]),
        ({"since": f"{day} 10:14", "until": f"{day} 10:14"}, ["refused"]),
        ({"since": f"{day}T10:14:31Z", "until": f"{day} 12:00"}, ["good"]),
        ({"since": "10:14", "until": "10:14"}, ["refused"]),
        ({"since": "12:00:00", "until": "12:00:00Z"}, ["good"]),
        ({"since": "yesterday"}, []),
        ({"since": "T"}, []),
        ({"since": f"{day}12:00"}, []),
        ({"since": "25:00"}, []),
        ({"since": "9999-12-31"}, []),
        ({"until": "2026-02-30"}, []),
        ({"until": "0001-01-01"}, []),
        ({"api_key": "partner", "status": "4xx", "since": day, "error": "wallet_not_controlled"}, ["refused"]),
    ]:  # fmt: skip
        assert shown(desk, query) == found, query


def test_why_did_the_partner_get_403_at_10_14(desk: Client, ledger: SimpleNamespace, rows: dict[str, Request]) -> None:
    """The name of the partner in the box, then two clicks: the refused requests, and the code of the error."""
    key_page = desk.get(desk.get(reverse("admin:find"), {"q": "partner"})["Location"]).content.decode()

    (first,) = re.findall(r'<a href="([^"]+)">its requests that were refused</a>', key_page)
    listed = desk.get(first.replace("&amp;", "&")).content.decode()
    assert listed.count('<th scope="row"') == 1
    for part in ("10:14:30", "GET /wallets/{wallet_id}", "403", "bobby", "192.0.2.7"):
        assert part in listed
    (second,) = re.findall(r'<a href="(/docs/errors#[^"]+)">wallet_not_controlled</a>', listed)
    help_page = Client().get(second).content.decode()
    assert f'id="{second.partition("#")[2]}"' in help_page

    # Or the request itself, which has the cause too.
    page = desk.get(page_url(Request, rows["refused"].pk)).content.decode()
    for part in (
        "wallet_not_controlled",
        "cause",
        "cure",
        page_url(ApiKey, ledger.key.pk),
        page_url(Wallet, ledger.bob.pk),
    ):
        assert part in page


def test_each_row_has_a_page_and_a_code_that_is_not_known_has_no_link(desk: Client, rows: dict[str, Request]) -> None:
    gone = {"api_key_id": uuid4(), "wallet_id": uuid4(), "user_id": 10**9}
    Request.objects.filter(pk=rows["page"].pk).update(**gone)
    for row in rows.values():
        assert desk.get(page_url(Request, row.pk)).status_code == 200
    assert 'href="/docs/errors#old_code"' not in desk.get(LIST).content.decode()
    assert desk.get(page_url(Request, 1)).status_code == 404
    assert desk.get(page_url(Request, "x")).status_code == 404
    assert desk.get(page_url(Request, 10**40)).status_code == 404


def test_keys_wallets_transfers_tasks_and_actions_lead_to_their_requests(
    desk: Client, ledger: SimpleNamespace, rows: dict[str, Request]
) -> None:
    LockerTask.objects.filter(pk=ledger.running.pk).update(request_id="good")
    transfer = Transfer.objects.get(pk=ledger.transfers["completed"].id)
    Request.objects.create(
        id=request_log.first_id(transfer.created_at), method="POST", route="/transfers", status=201, milliseconds=1,
        wallet=transfer.originator, request_id="that-sent-it",
    )  # fmt: skip
    for page, words, found in [
        (page_url(ApiKey, ledger.key.pk), "all its requests", ["good", "refused"]),
        (page_url(Wallet, ledger.bob.pk), "all its requests", ["refused"]),
        (page_url(Wallet, ledger.bob.pk), "its requests that were refused", ["refused"]),
        (page_url(Transfer, transfer.pk), "requests of its originator around that time", ["that-sent-it"]),
        (page_url(LockerTask, ledger.running.pk), "good", ["good"]),
    ]:
        (url,) = re.findall(rf'<a href="([^"]+)">{words}</a>', desk.get(page).content.decode())
        assert [name for name in shown(desk, url.removeprefix(LIST).replace("&amp;", "&")) if name in found] == found
    assert desk.get(reverse("admin:find"), {"q": "refused"})["Location"] == page_url(Request, rows["refused"].pk)


def test_a_transfer_from_before_the_kept_days_has_no_link(
    desk: Client, ledger: SimpleNamespace, settings: LazySettings
) -> None:
    Request.objects.all().delete()
    page = page_url(Transfer, ledger.transfers["completed"].id)
    assert "requests of its originator" in desk.get(page).content.decode()

    settings.REQUEST_LOG_DAYS = 0

    assert "requests of its originator" not in desk.get(page).content.decode()
    assert "No requests are recorded: COPPICE_REQUEST_LOG_DAYS is 0." in desk.get(LIST).content.decode()


def test_lost_requests_are_named(desk: Client, rows: dict[str, Request], settings: LazySettings) -> None:
    assert "not recorded" not in desk.get(LIST).content.decode()
    today = datetime.now(UTC).date()
    lost = {today: 1200, today - timedelta(days=1): 34, today - timedelta(days=30): 5}
    redis_servers.client(settings.REDIS_URL).hset(
        request_log.LOST_KEY, mapping={day.isoformat(): number for day, number in lost.items()}
    )

    listed = desk.get(LIST).content.decode()

    assert f"1,234 requests were not recorded: 1,200 on {today}, 34 on {today - timedelta(days=1)}." in listed
    redis_servers.client(settings.REDIS_URL).delete(request_log.LOST_KEY)


def test_only_those_with_the_right_see_requests(ledger: SimpleNamespace, rows: dict[str, Request]) -> None:
    person = User.objects.create_user("vera", password="a long password", is_staff=True)
    person.user_permissions.add(Permission.objects.get(codename="view_wallet"))
    viewer = Client()
    viewer.force_login(person)

    for url in (LIST, reverse("admin:desk_request_csv"), page_url(Request, rows["good"].pk)):
        assert viewer.get(url).status_code == 403
    assert "its requests" not in viewer.get(page_url(Wallet, ledger.alice.pk)).content.decode()
    assert viewer.get(reverse("admin:find"), {"q": "refused"}).context["found"].groups == []

    person.user_permissions.add(Permission.objects.get(codename="view_request"))
    person = User.objects.get(pk=person.pk)
    assert shown(viewer, {"q": "good"}) == ["good"]


def test_a_list_that_takes_too_long_says_what_to_do(
    desk: Client, rows: dict[str, Request], monkeypatch: pytest.MonkeyPatch
) -> None:
    def slow(*args: Any) -> None:
        with connection.cursor() as cursor:
            cursor.execute("SET LOCAL statement_timeout = '50ms'")
            cursor.execute("SELECT pg_sleep(60)")

    monkeypatch.setattr(requests.RequestPage, "prepare", slow, raising=False)
    response = desk.get(LIST)
    monkeypatch.undo()

    assert (response.status_code, response["Location"]) == (302, LIST)
    assert "This list takes longer than 5 seconds. Add a shorter time: from, to." in desk.get(LIST).content.decode()


@pytest.fixture
def many(ledger: SimpleNamespace) -> int:
    """Some 20,000 requests that succeeded, and a few that were refused. Returns the number of blocks of the table."""
    request_log.create_partitions({NOON.date()})
    first = request_log.first_id(NOON.replace(hour=0))
    with connection.cursor() as cursor:
        cursor.execute(
            "INSERT INTO desk_request (id, request_id, method, route, status, milliseconds, client, error,"
            "                          api_key_id, wallet_id)"
            " SELECT %s + 1024 * n, md5(n::text), 'POST', '/transfers',"
            "        CASE WHEN n %% 500 = 0 THEN 404 ELSE 200 + n %% 2 END, 1, '192.0.2.7',"
            "        CASE WHEN n %% 500 = 0 THEN 'transfer_not_found' ELSE '' END, %s, %s"
            "   FROM generate_series(1, 20000) AS n",
            [first, ledger.key.pk, ledger.alice.pk],
        )
        # As autovacuum does.
        cursor.execute(
            "SELECT brin_summarize_new_values(indexrelid) FROM pg_index"
            "  JOIN pg_class AS index ON index.oid = indexrelid AND index.relam = (SELECT oid FROM pg_am"
            "                                                                       WHERE amname = 'brin')"
            " WHERE indrelid = %s::regclass",
            [f"desk_request_{NOON:%Y%m%d}"],
        )
        cursor.execute("ANALYZE desk_request")
        cursor.execute("SELECT pg_relation_size(%s::regclass) / 8192", [f"desk_request_{NOON:%Y%m%d}"])
        return int(cursor.fetchone()[0])


def test_no_filter_reads_all_rows(desk: Client, ledger: SimpleNamespace, many: int) -> None:
    frequent = ({"route": "/transfers"}, {"status": "200"})
    wrong = []
    # Here and not by pytest: the rows take longer to write than all these lists to read.
    for query in (
        {"status": "418"}, {"status": "206"}, {"status": "404"}, {"status": "5xx"}, {"status": "3xx"},
        {"status": "4xx"}, {"status": "refused"}, {"route": "/nowhere"}, {"route": "GET /nowhere"},
        {"error": "transfer_not_found"}, {"error": "wallet_not_found"},
        {"api_key": "no such key"}, {"api_key": "11111111-1111-4111-8111-111111111111"}, {"wallet": "bobby"},
        {"restricted_key": "11111111-1111-4111-8111-111111111111"}, {"restricted_key": "the shop"},
        {"wallet": "bobby", "status": "refused"}, {"wallet": "alice", "status": "refused"},
        {"api_key": "partner", "status": "404"}, {"wallet": "bobby", "route": "/transfers", "since": "00:00"},
        {"q": "no request"}, *frequent,
    ):  # fmt: skip
        with CaptureQueriesContext(connection) as statements:
            assert desk.get(LIST, query).status_code == 200, query
        pages = [
            each["sql"] for each in statements if 'FROM "desk_request"' in each["sql"] and " LIMIT " in each["sql"]
        ]

        if query in frequent:
            # The number of frequent rows is counted up to a limit, which is larger than this table.
            pages = [sql for sql in pages if "COUNT(" not in sql]
        for sql in pages:
            with connection.cursor() as cursor:
                cursor.execute(f"EXPLAIN (ANALYZE, BUFFERS, TIMING OFF, FORMAT JSON) {sql.replace('%', '%%')}", [])
                plan = cursor.fetchone()[0][0]["Plan"]
            if plan["Shared Hit Blocks"] + plan["Shared Read Blocks"] >= many / 3:
                wrong.append((query, plan))
        # For the name of no key, and the text of no request, nothing is read.
        if not pages and query.get("api_key") != "no such key" and query.keys() != {"q"}:
            wrong.append((query, "no page was read"))

    assert wrong == []
