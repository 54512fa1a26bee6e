"""`GET /wallets` with the parameters of the service's later versions, against a model of the list in Python."""

import random
from datetime import UTC, datetime, timedelta
from typing import Any, Final
from urllib.parse import urlencode

import pytest
from django.contrib.auth.hashers import make_password
from django.db import connection
from django.db.models import Func, Value
from django.test.utils import CaptureQueriesContext

from config.api import cached_credentials
from tests.api.caller import Caller, answer, refusal
from tests.support.pagination import next_path
from transfers import operations as transfers
from trusts import operations as trusts
from trusts.models import Trust
from trusts.states import TrustRequestType, TrustState
from wallets import queries
from wallets.models import Wallet

DAYS: Final = [datetime(2024, 3, day, tzinfo=UTC) for day in (1, 2, 3, 4)]
LIST: Final = [
    "id",
    "name",
    "about",
    "logo_url",
    "created_at",
    "tokens_in_wallet",
    "tokens_available",
    "tokens_pending",
]
V2_LIST: Final = [*LIST, "cover_url", "display_name"]
NAMES: Final = ["Bob", "bobby2", "rob", "b_b", "b%b", "blob", "+254712", "254712", "Öl", "oel", "zebra", "zoo1", "zoo2"]


@pytest.fixture
def managed(alice: Caller) -> list[dict[str, Any]]:
    """What alice controls, herself included: many wallets were created at the same moments, some at midnight."""
    chosen = random.Random(1)
    moments = [day + offset for day in DAYS for offset in (timedelta(), timedelta(hours=23, minutes=59, seconds=59.9))]
    rows = [{"name": "alice", "created_at": alice.wallet.created_at, "own": True, "kinds": set(), "has_password": True}]
    for name in NAMES:
        has_password = chosen.random() < 0.5
        wallet = Wallet.objects.create(
            name=name,
            name_key=queries.names.name_key(name),
            password=make_password("x", hasher="md5") if has_password else "",
            created_at=chosen.choice(moments),
        )
        kinds = set(chosen.choice([["manage"], ["yield"], ["manage", "yield"]]))
        for kind in kinds:
            actor, target = (alice.wallet, wallet) if kind == "manage" else (wallet, alice.wallet)
            Trust.objects.create(
                number=Func(Value("trusts_trust_number"), function="nextval"), state=TrustState.TRUSTED,
                actor=actor, target=target, originator=actor, request_type=kind,
            )  # fmt: skip
        rows.append(
            {"name": name, "created_at": wallet.created_at, "own": False, "kinds": kinds, "has_password": has_password}
        )
    for row in rows:
        row["id"] = str(Wallet.objects.get(name=row["name"]).pk)
    # Not hers: a stranger, and one that she only asked.
    for name in ("stranger-bob", "asked-bob"):
        Wallet.objects.create(name=name, name_key=name, password="")
    trusts.request_trust(actor=alice.wallet, request_type=TrustRequestType.MANAGE, requestee="asked-bob")
    return rows


def in_collation() -> dict[str, int]:
    """Return the place of each name in the order of the database."""
    names = Wallet.objects.order_by("name").values_list("name", flat=True)
    return {name: place for place, name in enumerate(names)}


def model(rows: list[dict[str, Any]], wanted: dict[str, str], *, is_v2: bool) -> list[str]:
    """Return the names of the wallets that the list must have, in its order."""
    places = in_collation()

    def fits(row: dict[str, Any]) -> bool:
        day = row["created_at"].date().isoformat()
        if not wanted.get("created_at_start_date", "")[:10] <= day <= wanted.get("created_at_end_date", "9")[:10]:
            return False
        is_child = "manage" in row["kinds"] and not row["has_password"]
        match wanted.get("scope", "all"):
            case "child" if row["own"] or not is_child:
                return False
            case "managed" if row["own"] or not ("yield" in row["kinds"] or row["has_password"]):
                return False
        return bool(row["own"]) or wanted.get("name", "").lower() in row["name"].lower()

    found = [row for row in rows if fits(row)]
    if not is_v2 and not {"sort_by", "order", "order_by"} & wanted.keys():
        return [row["name"] for row in sorted(found, key=lambda row: (row["own"], row["created_at"], row["id"]))]
    keys = {
        "created_at": lambda row: (row["created_at"], row["id"]),
        "name": lambda row: (places[row["name"]], row["id"]),
    }
    is_descending = wanted.get("order", "desc") == "desc"
    return [row["name"] for row in sorted(found, key=keys[wanted.get("sort_by", "created_at")], reverse=is_descending)]


def walk(caller: Caller, path: str) -> tuple[list[str], set[int]]:
    """Follow the cursors; return the names, and every `total`."""
    names: list[str] = []
    totals = set()
    while path:
        response = caller.get(path)
        status, body = answer(response)
        assert status == 200, (path, body)
        names += [row["name"] for row in body["wallets"]]
        totals.add(body.get("total"))
        path = next_path(response)
        assert len(names) < 100
    return names, totals


FILTERS: Final = [
    {"name": name} for name in ("b", "BOB", "_", "%", "o", "zzz", "ÖL", "alice")
] + [
    {}, {"scope": "all"}, {"scope": "child"}, {"scope": "managed"},
    {"created_at_start_date": "2024-03-02"}, {"created_at_end_date": "2024-03-02"},
    {"created_at_start_date": "2024-03-02T13:00:00Z", "created_at_end_date": "2024-03-03T01:00:00Z"},
    {"created_at_start_date": "2024-03-03", "created_at_end_date": "2024-03-02"},
    {"created_at_end_date": "9999-12-31"},
    {"name": "b", "scope": "child"}, {"name": "b", "created_at_end_date": "2024-03-03"},
    {"scope": "managed", "created_at_start_date": "2024-03-02"},
]  # fmt: skip
SORTS: Final = [
    {}, {"order": "asc"}, {"order": "desc"}, {"sort_by": "name"}, {"sort_by": "name", "order": "asc"},
    {"sort_by": "created_at", "order": "asc"},
]  # fmt: skip


@pytest.mark.parametrize("prefix", ["", "/wallet/v2"])
def test_each_filter_and_order_gives_the_rows_of_the_model_by_cursor_and_by_offset(
    alice: Caller, managed: list[dict[str, Any]], prefix: str
) -> None:
    chosen = random.Random(prefix)
    for wanted, sort in [(each, sort) for each in FILTERS for sort in chosen.sample(SORTS, 2)]:
        query = {**wanted, **sort}
        expected = model(managed, query, is_v2=bool(prefix))
        path = f"{prefix}/wallets?{urlencode({'limit': 5, **query})}"
        # A request that v1 answers has its keys alone.
        totals = {len(expected)} if query or prefix else {None}

        assert walk(alice, path) == (expected, totals), path
        for offset in (1, len(expected)):
            status, body = answer(alice.get(f"{path}&offset={offset}"))
            names = [row["name"] for row in body["wallets"]]
            assert (status, names, body["total"]) == (200, expected[offset:][:5], len(expected)), path


def test_row_35_the_answer_of_the_later_version_has_total_query_and_all_fields(alice: Caller) -> None:
    sapling = trusts.open_managed_wallet(actor=alice.wallet, name="sapling", about="planted in spring")
    transfers.issue_tokens(wallet=sapling, count=3)
    Wallet.objects.filter(pk=sapling.pk).update(cover_url="https://example.org/c.png", display_name="Sapling")
    expected = {
        "id": str(sapling.pk),
        "name": "sapling",
        "about": "planted in spring",
        "logo_url": None,
        "created_at": sapling.created_at.isoformat(timespec="milliseconds").replace("+00:00", "Z"),
        "tokens_in_wallet": 3,
        "tokens_available": 3,
        "tokens_pending": 0,
    }
    more = {"cover_url": "https://example.org/c.png", "display_name": "Sapling"}

    status, body = answer(alice.get("/wallet/v2/wallets?limit=1&created_at_start_date=2024-01-01"))
    _, same = answer(alice.get("/wallets?limit=1&name=sap&order=desc"))
    _, own = answer(alice.get("/wallet/wallets?limit=1"))

    query = {"limit": 1, "offset": 0, "sort_by": "created_at", "order": "desc"}
    assert (status, list(body)) == (200, ["total", "query", "wallets"])
    assert body["total"] == 2
    assert body["query"] == {**query, "created_at_start_date": "2024-01-01T00:00:00.000Z"}
    assert [list(row.items()) for row in body["wallets"]] == [list({**expected, **more}.items())]
    # At the addresses of v1 a wallet has the fields of v1.
    assert same == {"total": 2, "query": {**query, "name": "sap"}, "wallets": [expected]}
    assert own == {"wallets": [expected]}


def test_order_by_is_that_of_v1_10_25(alice: Caller, managed: list[dict[str, Any]]) -> None:
    newest_first = model(managed, {"order": "desc"}, is_v2=False)

    assert walk(alice, "/wallets?limit=4&order_by=created_at") == (newest_first, {None})
    assert walk(alice, "/wallets?limit=4&order_by=created_at&order=asc")[0] == newest_first[::-1]
    assert answer(alice.get("/wallets?limit=1&order_by=name")) == refusal(422, '"order_by" must be [created_at]')
    assert answer(alice.get("/wallet/v2/wallets?order_by=created_at")) == refusal(422, '"order_by" is not allowed')


@pytest.mark.parametrize(
    ("query", "message"),
    [
        ("sort_by=tokens_in_wallet", '"sort_by" must be one of [created_at, name]'),
        ("order=ASC", '"order" must be one of [asc, desc]'),
        ("name=", '"name" is not allowed to be empty'),
        ("name=%00", '"name" must not hold a NUL character'),
        ("name=a&name=b", '"name" must be a string'),
        ("scope=own", '"scope" must be one of [all, child, managed]'),
        ("created_at_start_date=01/02/2024", '"created_at_start_date" must be in ISO 8601 date format'),
        ("created_at_end_date=2024-02-30", '"created_at_end_date" must be in ISO 8601 date format'),
        ("offset=-1", "offset can only be non-negative integer"),
        ("search=bob", '"search" is not allowed'),
        ("state=trusted", '"state" is not allowed'),
        ("exclude_managed=true", '"exclude_managed" is not allowed'),
        ("before=2024-01-01", '"before" is not allowed'),
    ],
)
@pytest.mark.parametrize("prefix", ["", "/wallet/v2"])
def test_a_parameter_that_cannot_be_is_422(alice: Caller, prefix: str, query: str, message: str) -> None:
    assert answer(alice.get(f"{prefix}/wallets?limit=1&{query}")) == refusal(422, message)


def test_a_phone_number_is_found_by_its_part_though_the_plus_sign_is_not_escaped(
    alice: Caller, managed: list[dict[str, Any]]
) -> None:
    for written in ("+2547", "%2B2547", "+2547".replace("+", "%20")):
        body = answer(alice.get(f"/wallets?limit=9&name={written}"))[1]
        assert [row["name"] for row in body["wallets"]] == ["+254712", "alice"], written
    # Characters that no name has find nothing, although their key is empty.
    assert answer(alice.get("/wallets?limit=9&name=%E2%80%8B"))[1]["total"] == 1


def test_a_cursor_belongs_to_its_order_and_its_filter(alice: Caller, managed: list[dict[str, Any]]) -> None:
    path = next_path(alice.get("/wallets?limit=2&sort_by=name&order=asc"))
    invalid = refusal(422, '"cursor" is not valid')

    assert alice.get(path).status_code == 200
    for other in (
        path.replace("order=asc", "order=desc"),
        path.replace("sort_by=name", "sort_by=created_at"),
        path.replace("sort_by=name&", ""),
        path + "&name=b",
        path + "&scope=all",
        "/wallet/v2" + path,
    ):
        assert answer(alice.get(other)) == invalid, other
    assert answer(alice.get(path + "&offset=0")) == refusal(422, '"offset" is not allowed together with "cursor"')


def test_tokens_take_an_offset(alice: Caller) -> None:
    transfers.issue_tokens(wallet=alice.wallet, count=7)
    everything = answer(alice.get("/tokens?limit=10"))[1]["tokens"]

    for prefix in ("", "/wallet/v2"):
        for offset in (0, 2, 7, 8):
            response = alice.get(f"{prefix}/tokens?limit=3&offset={offset}")
            assert answer(response) == (200, {"tokens": everything[offset:][:3]})
    assert answer(alice.get("/wallet/v2/tokens")) == (200, {"tokens": everything})
    assert answer(alice.get("/tokens?limit=1&offset=-1")) == refusal(422, '"offset" must be greater than or equal to 0')
    assert answer(alice.get("/tokens?limit=1&offset=1&start=1")) == refusal(
        422, '"start" is not allowed together with "offset"'
    )


@pytest.mark.parametrize("query", ["", "&offset=1", "&sort_by=name", "&name=b&scope=child"])
def test_page_and_total_are_one_statement(alice: Caller, managed: list[dict[str, Any]], query: str) -> None:
    alice.get(f"/wallets?limit=3{query}")
    with CaptureQueriesContext(connection) as captured:
        alice.get(f"/wallets?limit=3{query}")
    assert len(captured) == 1

    cached_credentials.clear()
    with CaptureQueriesContext(connection) as captured:
        alice.get(f"/wallets?limit=3{query}")
    assert len(captured) == 2
