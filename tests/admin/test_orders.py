"""The controls of a list: its order, the days that it shows, and the query string that holds them."""

from datetime import UTC, datetime, timedelta
from types import SimpleNamespace
from typing import Any
from urllib.parse import parse_qs

import pytest
from django.contrib import admin
from django.db import connection
from django.test import Client, RequestFactory
from django.urls import reverse

from config.admin.base import LedgerPage
from config.admin.filters import DateFilter
from transfers.models import Transfer
from wallets.models import ApiKey

# Pages whose tables stay short: people and API keys.
SHORT = {"auth.user", "wallets.apikey"}
# Pages without days: an index on the time of each token, or coin, would cost every move of one. That of requests has
# times to the second in place of days.
WITHOUT_DAYS = {"wallets.token", "lockers.coin", "desk.request"}
# The filters under which a page has another order.
UNDER = {
    "transfers.transfer": [
        "",
        "state=open",
        "state=pending",
        "need=yes",
        "waits=hour",
        "state=cancelled",
        "state=failed",
    ],
    "wallets.token": ["", "wallet=alice"],
    "lockers.coin": ["", "wallet=alice"],
}
PAGES = [page for page in admin.site._registry.values() if isinstance(page, LedgerPage)]


def label(page: LedgerPage) -> str:
    return page.opts.label_lower


def nodes(plan: dict[str, Any]) -> list[str]:
    return [plan["Node Type"], *(node for each in plan.get("Plans", []) for node in nodes(each))]


@pytest.mark.parametrize("page", PAGES, ids=label)
def test_each_order_is_that_of_an_index(ledger: SimpleNamespace, staff: Any, page: LedgerPage) -> None:
    if label(page) in SHORT:
        return
    for filters in UNDER.get(label(page), [""]):
        for sort in [
            "",
            *(f"{sign}{name}" for name in page.sorts_for(RequestFactory().get(f"/?{filters}")) for sign in ("", "-")),
        ]:
            request = RequestFactory().get(
                "/", dict(each.split("=") for each in filters.split("&") if each) | ({"sort": sort} if sort else {})
            )
            request.user = staff
            rows = page.get_changelist_instance(request).queryset[:50]
            with connection.cursor() as cursor:
                # A sort is planned only where nothing else gives the order.
                cursor.execute(
                    "SET LOCAL enable_sort = off; SET LOCAL enable_seqscan = off; SET LOCAL enable_bitmapscan = off"
                )
                sql, params = rows.query.sql_with_params()
                cursor.execute(f"EXPLAIN (FORMAT JSON) {sql}", params)
                plan = cursor.fetchone()[0][0]["Plan"]
            # An incremental sort is one of rows that an index gives as equal.
            assert "Sort" not in nodes(plan), (label(page), filters, sort)


@pytest.mark.parametrize("page", PAGES, ids=label)
def test_each_page_is_narrowed_by_days(page: LedgerPage) -> None:
    has_days = any(isinstance(each, type) and issubclass(each, DateFilter) for each in page.list_filter)

    assert has_days is (label(page) not in WITHOUT_DAYS)


def shown(client: Client, query: str, name: str = "transfers_transfer") -> Any:
    response = client.get(reverse(f"admin:{name}_changelist") + query)
    return (
        [row.pk for row in response.context["cl"].result_list] if response.status_code == 200 else response["Location"]
    )


def test_the_first_and_the_last_day_are_shown_too(desk: Client, db: None) -> None:
    times = ("2026-03-01T00:00:00+00:00", "2026-03-02T23:59:59.999+00:00", "2026-03-03T00:00:00+00:00")
    first, second, third = (
        ApiKey.objects.create(name=at, prefix="a", digest=at[:32].encode(), created_at=datetime.fromisoformat(at)).pk
        for at in times
    )

    def found(query: str) -> Any:
        return shown(desk, f"?sort=made&{query}", "wallets_apikey")

    assert found("since=2026-03-01&until=2026-03-02") == [first, second]
    assert found("since=2026-03-02&until=2026-03-02") == [second]
    assert found("until=2026-03-01") == [first]
    assert found("since=2026-03-04") == []
    assert found("since=&until=") == [first, second, third]


@pytest.mark.parametrize(
    "query", ["since=2026-13-01", "until=9999-12-31", "since=%00", "since=1", "sort=tokens", "sort=--made"]
)
def test_what_is_no_day_and_no_order_is_refused(desk: Client, ledger: SimpleNamespace, query: str) -> None:
    assert shown(desk, f"?{query}") == "/admin/transfers/transfer/?e=1"


def test_a_list_is_sorted_both_ways_and_djangos_parameter_sorts_nothing(desk: Client, ledger: SimpleNamespace) -> None:
    oldest = list(Transfer.objects.order_by("number").values_list("pk", flat=True))

    assert shown(desk, "?sort=made") == oldest
    assert shown(desk, "?sort=-made") == shown(desk, "") == shown(desk, "?o=3") == oldest[::-1]
    assert shown(desk, "?sort=-made&state=open") == shown(desk, "?sort=made&state=open")[::-1]


def test_every_control_keeps_the_others(desk: Client, ledger: SimpleNamespace) -> None:
    today = datetime.now(UTC).date()
    query = (
        f"?wallet=alice&state=completed&since={today - timedelta(days=1)}&until={today + timedelta(days=1)}&sort=made"
    )
    response = desk.get(reverse("admin:transfers_transfer_changelist") + query)
    page = response.content.decode()

    # Each form has the others as hidden fields, each link has them in its query.
    forms = page.split("<form")[1:]
    for form in (each.partition("</form>")[0] for each in forms if 'method="get"' in each):
        for name in ("wallet", "state", "since", "until", "sort"):
            assert f'name="{name}"' in form, form
    head = next(head for head in response.context["cl"].heads if head.url)
    assert head.direction == "ascending"
    assert parse_qs(head.url[1:]) == parse_qs(query[1:]) | {"sort": ["-made"]}
    # The file has the rows in this order.
    assert f'href="{reverse("admin:transfers_transfer_csv")}{query.replace("&", "&amp;")}"' in page
