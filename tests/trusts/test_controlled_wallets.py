"""What a page of the wallets of a manager of many costs, and the copies of their columns that it reads."""

from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from typing import Any, Final

import pytest
from django.db import connection
from django.test.utils import CaptureQueriesContext

from tests.api.caller import Caller
from transfers import counters
from trusts import operations as trusts
from trusts import queries
from trusts.controlled_wallets import WalletOrder, WalletScope, WalletSelection
from trusts.models import Trust
from trusts.states import TrustRequestType
from wallets import operations as wallets
from wallets.models import Wallet

MANAGED: Final = 2_000
LIMIT: Final = 20
# Every hundredth has another name than most, every tenth a password. The order of the names is not that of the times.
_PLANT: Final = """
INSERT INTO wallets_wallet (id, name, name_key, password, about, display_name, created_at)
SELECT gen_random_uuid(), name, name, CASE WHEN i %% 10 = 0 THEN 'x' ELSE '' END, '', '',
       now() - interval '1 year' + i * interval '1 minute'
  FROM generate_series(1, %(managed)s) AS i
 CROSS JOIN LATERAL (
           SELECT CASE WHEN i %% 100 = 5 THEN 'rare' ELSE 'tree' END || substr(md5(i::text), 1, 8)
       ) AS each (name)
RETURNING id
"""


@pytest.fixture
def manager(alice: Caller) -> Wallet:
    """Manages 2,000 wallets."""
    with connection.cursor() as cursor:
        cursor.execute(_PLANT, {"managed": MANAGED})
        trusts.grant_management(actor=alice.wallet, wallet_ids=[row[0] for row in cursor.fetchall()])
        cursor.execute("ANALYZE")
    return alice.wallet


def nodes(plan: dict[str, Any]) -> Iterator[dict[str, Any]]:
    yield plan
    for inner in plan.get("Plans", []):
        yield from nodes(inner)


class Read:
    """What a page read: blocks, rows of wallets, and whether it read the rows of trusts that its filter left out."""

    def __init__(self, actor: Wallet, selection: WalletSelection, *, counts: bool = False, **arguments: Any) -> None:
        with CaptureQueriesContext(connection) as captured:
            page = counters.wallets_page(
                actor_id=actor.pk, limit=LIMIT, selection=selection, has_total=counts, **arguments
            )
        assert len(captured) == 1
        self.total = page.total
        with connection.cursor() as cursor:
            cursor.execute("EXPLAIN (ANALYZE, BUFFERS, FORMAT JSON) " + captured[0]["sql"])
            plan = cursor.fetchone()[0][0]["Plan"]
        self.blocks = plan["Shared Hit Blocks"] + plan["Shared Read Blocks"]
        scans = [node for node in nodes(plan) if node.get("Relation Name") == "wallets_wallet"]
        self.wallets = sum(node["Actual Rows"] * node["Actual Loops"] for node in scans)


def test_a_page_reads_no_more_wallets_than_it_shows_in_any_order_and_by_any_filter(manager: Wallet) -> None:
    middle = Wallet.objects.filter(password="").order_by("name")[MANAGED // 2]
    day = datetime.now(UTC) - timedelta(days=364)
    name, time = WalletOrder.NAME, WalletOrder.CREATED_AT
    frequent: dict[str, Any] = {
        "by name": Read(manager, WalletSelection(name)),
        "by name, deep": Read(manager, WalletSelection(name), after=[middle.name, middle.pk]),
        "by name, descending, deep": Read(manager, WalletSelection(name, True), after=[middle.name, middle.pk]),
        "most names": Read(manager, WalletSelection(has_name=True), values={"name": "TREE"}),
        "most names, by name": Read(manager, WalletSelection(name, True, has_name=True), values={"name": "tree"}),
        "without password": Read(manager, WalletSelection(time, True, WalletScope.CHILD)),
        "without password, deep": Read(
            manager, WalletSelection(time, True, WalletScope.CHILD), after=[middle.created_at, middle.pk]
        ),
    }
    rare = {
        "rare names": Read(manager, WalletSelection(has_name=True), values={"name": "rare"}, counts=True),
        "rare names, by name": Read(manager, WalletSelection(name, has_name=True), values={"name": "rare"}),
        "no names": Read(manager, WalletSelection(name, has_name=True), values={"name": "zzz"}, counts=True),
        "with password": Read(manager, WalletSelection(name, scope=WalletScope.MANAGED), counts=True),
        "one day": Read(
            manager, WalletSelection(name, has_start=True, has_end=True), values={"start": day, "end": day}, counts=True
        ),
    }
    page = Read(manager, WalletSelection(time)).blocks

    # One more row tells whether there is a next page; the caller's own wallet is looked up beside the managed ones.
    read = frequent | rare
    assert {key: each.wallets for key, each in read.items() if each.wallets > 2 * (LIMIT + 1) + 2} == {}
    # Read in another order, neighbouring rows may be in different blocks of the table.
    assert {key: each.blocks for key, each in frequent.items() if each.blocks > page + 3 * (LIMIT + 1)} == {}
    assert [read[key].total for key in ("rare names", "no names", "with password")] == [21, 1, 200]


def copies() -> dict[str, tuple[Any, ...]]:
    fields = ("managed_created_at", "managed_name", "managed_name_key", "managed_has_password")
    return {kind: tuple(row) for kind, *row in Trust.objects.values_list("request_type", *fields)}


def test_a_trust_has_the_columns_of_the_managed_wallet_whatever_its_state(alice: Caller, bob: Caller) -> None:
    sapling = wallets.create_wallet(name="Sapling")
    asked = trusts.request_trust(actor=alice.wallet, request_type=TrustRequestType.MANAGE, requestee="sapling")
    given = trusts.request_trust(actor=sapling, request_type=TrustRequestType.YIELD, requestee="bobby")
    trusts.accept_trust(actor=bob.wallet, trust_id=given.id)
    trusts.request_trust(actor=alice.wallet, request_type=TrustRequestType.SEND, requestee="sapling")
    since = Wallet.objects.get(pk=sapling.pk).created_at
    nothing = (None, None, None, None)
    assert copies() == dict.fromkeys(("manage", "yield"), (since, "Sapling", "sapling", False)) | {"send": nothing}

    wallets.set_password(wallet=sapling, password="a password of its own")
    Wallet.objects.filter(pk=sapling.pk).update(name="Baum", name_key="baum")

    assert copies() == dict.fromkeys(("manage", "yield"), (since, "Baum", "baum", True)) | {"send": nothing}
    trusts.accept_trust(actor=sapling, trust_id=asked.id)
    for actor in (alice, bob):
        selection = WalletSelection(WalletOrder.NAME, scope=WalletScope.MANAGED, has_name=True)
        page = counters.wallets_page(actor_id=actor.wallet.pk, limit=9, selection=selection, values={"name": "BAU"})
        assert page.json.count('"Baum"') == 1
    assert list(queries.audit_findings()) == []


@pytest.mark.parametrize("name", ["木" * 254, "㌀㌁㌂㌃㌄㌅㌆㌇㌈㌉㌊㌋㌌㌍㌎㌏" * 13, "𝐀𝐁𝐂" * 80])
def test_a_managed_wallet_may_have_the_longest_name(alice: Caller, name: str) -> None:
    wallet = trusts.open_managed_wallet(actor=alice.wallet, name=name)

    page = counters.wallets_page(
        actor_id=alice.wallet.pk, limit=9, selection=WalletSelection(WalletOrder.NAME, has_name=True),
        values={"name": name},
    )  # fmt: skip
    assert str(wallet.pk) in page.json
