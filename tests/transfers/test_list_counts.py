"""The totals of lists of transfers and wallets: exact, whenever they were rolled up, and no dearer than the page."""

import itertools
import threading
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from django.db import connection, connections, transaction
from django.test.utils import CaptureQueriesContext

from config.ops import audits
from tests.api.caller import Caller
from transfers import audit, counters, list_counts, list_pages, operations, transfer_lists
from transfers.list_models import ListMark, ListSpan, ListTally
from transfers.models import ControlChange, Transfer
from transfers.states import TransferState
from trusts import operations as trusts
from trusts.controlled_wallets import WalletOrder, WalletScope, WalletSelection
from trusts.states import TrustRequestType
from wallets import operations as wallets
from wallets.models import Wallet

NEWEST_FIRST = WalletSelection(order=WalletOrder.CREATED_AT, is_descending=True)


def transfers_total(actor: Wallet, **selection: Any) -> Any:
    """A total does not depend on the order; the statement of this one is planned in a fifth of the time of v2's."""
    shown = transfer_lists.TransferSelection(**selection)
    return transfer_lists.transfers_visible_to(actor_id=actor.pk, limit=1, selection=shown, counts=True).total


def wallets_total(actor: Wallet) -> Any:
    return counters.wallets_page(actor_id=actor.pk, limit=1, selection=NEWEST_FIRST, has_total=True).total


def counted(mine: set[Any], state: str | None, wallet: Wallet | None) -> int:
    return sum(
        bool({row.source_id, row.destination_id, row.originator_id} & (mine if wallet is None else {wallet.pk}))
        and state in {None, row.state}
        for row in Transfer.objects.all()
    )


def check(controlled: dict[Wallet, set[Wallet]]) -> None:
    """Compare every total of these actors, who control these wallets, with a plain count."""
    for actor, others in controlled.items():
        mine = {actor, *others}
        # Of one wallet: all, counted by exclusion, and counted in an index.
        of_one = itertools.product([None, TransferState.COMPLETED.value, TransferState.PENDING.value], mine)
        for state, wallet in [*((state, None) for state in (None, *TransferState.values)), *of_one]:
            selection = {"state": state, "wallet": None if wallet is None else wallet.name}
            expected = counted({each.pk for each in mine}, state, wallet)
            assert transfers_total(actor, **selection) == expected, (actor, selection)
        assert transfers_total(actor, since=datetime.fromisoformat("2000-01-01T00:00:00Z")) == counted(
            {each.pk for each in mine}, None, None
        )
        ordered = {"is_descending": True, "waiting_first": True}
        assert transfers_total(actor, **ordered) == counted({each.pk for each in mine}, None, None)
        assert wallets_total(actor) == len(mine), actor
    assert audit.audit_findings() == []


@pytest.mark.django_db(transaction=True)
@pytest.mark.parametrize("rolls_up", [list_counts.roll_up, None], ids=["rolled up", "never rolled up"])
def test_totals_are_right_after_every_operation(
    alice: Caller, bob: Caller, carol: Caller, sapling: Wallet, rolls_up: Callable[[], bool] | None
) -> None:
    manager, other, third = alice.wallet, bob.wallet, carol.wallet
    controlled: dict[Wallet, set[Wallet]] = {manager: {sapling}, other: set(), third: set()}

    def steps() -> Any:
        # Who may push to a wallet does not see its transfers.
        push = trusts.request_trust(actor=third, request_type=TrustRequestType.SEND, requestee="sapling")
        trusts.accept_trust(actor=manager, trust_id=push.id)
        yield operations.send_bundle(actor=manager, sender="alice", receiver="sapling", size=1)
        pending = operations.send_bundle(actor=manager, sender="sapling", receiver="bobby", size=1)
        yield pending
        declined = operations.send_bundle(actor=manager, sender="alice", receiver="carol", size=1)
        expired = operations.send_bundle(actor=manager, sender="alice", receiver="carol", size=1)
        requested = operations.send_bundle(actor=other, sender="alice", receiver="bobby", size=1)
        yield requested
        yield operations.accept(actor=other, transfer_id=pending.id)
        yield operations.decline(actor=third, transfer_id=declined.id)
        yield operations.expire(transfer_ids=[expired.id])
        yield operations.fulfill(actor=manager, transfer_id=requested.id)
        # A manager that has transfers begins and ceases to be managed; then a wallet without any.
        trust = trusts.request_trust(actor=third, request_type=TrustRequestType.MANAGE, requestee="bobby")
        yield trust
        trusts.accept_trust(actor=other, trust_id=trust.id)
        controlled[third] |= {other}
        yield trust
        yield operations.send_bundle(actor=third, sender="bobby", receiver="alice", size=1)
        trusts.decline_trust(actor=other, trust_id=trust.id)
        controlled[third] -= {other}
        yield trust
        # Two trusts give the same power: the wallet counts once, until both have ended.
        again = trusts.request_trust(actor=other, request_type=TrustRequestType.YIELD, requestee="carol")
        trusts.accept_trust(actor=third, trust_id=again.id)
        controlled[third] |= {other}
        yield again
        trusts.accept_trust(actor=other, trust_id=trust.id)
        yield trust
        trusts.delete_trust(actor=third, trust_id=trust.id)
        yield trust
        trusts.delete_trust(actor=other, trust_id=again.id)
        controlled[third] -= {other}
        yield again
        controlled[manager] |= {trusts.open_managed_wallet(actor=manager, name="seedling")}
        yield trust
        yield operations.send_bundle(actor=manager, sender="alice", receiver="seedling", size=1)
        # A wallet whose only transfers are those that it asked for between others.
        agent = wallets.create_wallet(name="agent")
        for managed in ("sapling", "seedling"):
            held = trusts.request_trust(actor=agent, request_type=TrustRequestType.MANAGE, requestee=managed)
            trusts.accept_trust(actor=manager, trust_id=held.id)
        yield operations.send_bundle(actor=agent, sender="sapling", receiver="seedling", size=1)
        trust = trusts.request_trust(actor=other, request_type=TrustRequestType.MANAGE, requestee="agent")
        trusts.accept_trust(actor=agent, trust_id=trust.id)
        controlled[other] |= {agent}
        yield trust

    for _ in steps():
        check(controlled)
        if rolls_up is not None:
            assert rolls_up()
            check(controlled)


@pytest.mark.django_db(transaction=True)
def test_the_times_of_a_checkpoint_are_those_of_all_transfers_up_to_it(alice: Caller, sapling: Wallet) -> None:
    """Later transfers that are in order and older than the newest one change nothing of it."""
    operations.send_bundle(actor=alice.wallet, sender="alice", receiver="sapling", size=1)
    assert list_counts.roll_up()
    newest, oldest, spread = (
        datetime.fromisoformat("2999-01-01T00:00:00Z"),
        datetime.fromisoformat("1999-01-01T00:00:00Z"),
        timedelta(days=400_000),
    )
    assert ListSpan.objects.update(newest_at=newest, oldest_at=oldest, spread=spread) == 1
    transfer = operations.send_bundle(actor=alice.wallet, sender="alice", receiver="sapling", size=1)

    assert list_counts.roll_up()

    assert ListMark.objects.get().number >= transfer.number
    span = ListSpan.objects.order_by("span").last()
    assert span is not None
    assert span.newest_at == newest
    kept = ListSpan.objects.order_by("span")[0]
    assert (kept.newest_at, kept.oldest_at, kept.spread) == (newest, oldest, spread)
    # An older one, in a later span, is the oldest of all before it.
    older = datetime.fromisoformat("1998-01-01T00:00:00Z")
    with connection.cursor() as cursor:
        cursor.execute("SELECT setval('wallets_event_number', nextval('wallets_event_number') + 5000)")
        cursor.execute("SET session_replication_role = replica")
        cursor.execute(
            "INSERT INTO transfers_transfer (id, number, originator_id, source_id, destination_id, parameters, state,"
            " token_count, reserved_count, moved_count, created_at, closed_event)"
            " SELECT gen_random_uuid(), nextval('wallets_event_number'), originator_id, source_id, destination_id,"
            " parameters, 'requested', 1, 0, 0, %s, '' FROM transfers_transfer LIMIT 1",
            [older],
        )
        cursor.execute("SET session_replication_role = DEFAULT")
    assert list_counts.roll_up()
    assert {each.oldest_at for each in ListSpan.objects.all()} == {older}
    assert ListSpan.objects.count() > 1


@pytest.mark.django_db(transaction=True)
def test_the_audit_finds_kept_times_that_would_lose_a_transfer(alice: Caller, sapling: Wallet) -> None:
    """
    Of three in one span, the first is the newest and the second the oldest. A time that only makes a list read more is
    no finding.
    """
    with connection.cursor() as cursor:
        cursor.execute("SELECT setval('wallets_event_number', (nextval('wallets_event_number') / 1024 + 1) * 1024)")
    for _ in range(3):
        operations.send_bundle(actor=alice.wallet, sender="alice", receiver="sapling", size=1)
    with connection.cursor() as cursor:
        cursor.execute("SET session_replication_role = replica")
        for transfer, seconds in zip(Transfer.objects.order_by("number"), (3, 1, 2), strict=True):
            Transfer.objects.filter(pk=transfer.pk).update(
                created_at=transfer.created_at.replace(minute=0, second=seconds, microsecond=0)
            )
        cursor.execute("SET session_replication_role = DEFAULT")
    assert list_counts.roll_up()
    kept, little = ListSpan.objects.get(), timedelta(microseconds=1)
    assert (kept.oldest_at.second, kept.newest_at.second, kept.spread.seconds) == (1, 3, 2)

    for field, wrong in (("newest_at", -little), ("oldest_at", little), ("spread", -little)):
        for by, is_found in ((wrong, True), (0 * little, False), (-wrong, False)):
            ListSpan.objects.update(**{field: getattr(kept, field) + by})
            found = [each.detail for each in audit.audit_findings()]
            assert len([each for each in found if each.startswith("transfers with the numbers")]) == is_found, found
        kept.save()


def test_what_an_upgraded_system_has_not_counted_yet_is_no_finding(alice: Caller, sapling: Wallet) -> None:
    """Its managers are older than the notes of changed control, and before the first checkpoint nothing is kept."""
    operations.send_bundle(actor=alice.wallet, sender="alice", receiver="sapling", size=1)
    ControlChange.objects.all().delete()

    assert audit.audit_findings() == []


@pytest.mark.django_db(transaction=True)
def test_what_is_kept_is_read_until_control_changes(alice: Caller, bob: Caller, sapling: Wallet) -> None:
    """Shown by wrong counts: they are told as long as they may be used, and corrected where control changed."""
    operations.send_bundle(actor=alice.wallet, sender="alice", receiver="sapling", size=1)
    assert list_counts.roll_up()
    assert not ControlChange.objects.exists()
    ListTally.objects.filter(wallet=alice.wallet).update(own=70, visible=80, managed=90)

    assert transfers_total(alice.wallet) == 80
    assert transfers_total(alice.wallet, wallet="alice") == 70
    assert wallets_total(alice.wallet) == 91
    # The wallets of a narrowed list are counted.
    day = datetime.now(UTC)
    narrowed: list[tuple[dict[str, Any], dict[str, Any], int]] = [
        ({"has_name": True}, {"name": "sap"}, 2),
        ({"has_start": True}, {"start": day + timedelta(days=2)}, 0),
        ({"has_end": True}, {"end": day - timedelta(days=2)}, 0),
        ({"scope": WalletScope.CHILD}, {}, 1),
        ({"scope": WalletScope.MANAGED}, {}, 0),
    ]
    for selected, values, total in narrowed:
        selection = NEWEST_FIRST._replace(**selected)
        page = counters.wallets_page(
            actor_id=alice.wallet.pk, limit=1, selection=selection, values=values, has_total=True
        )
        assert page.total == total, selected
    assert any("kept are 70, 80 and 90" in finding.detail for finding in audits.findings())

    # A new wallet has no transfers: those are not counted anew.
    trusts.open_managed_wallet(actor=alice.wallet, name="seedling")
    assert (transfers_total(alice.wallet), wallets_total(alice.wallet)) == (80, 3)
    assert list_counts.roll_up()
    assert (transfers_total(alice.wallet), wallets_total(alice.wallet)) == (80, 3)

    trust = trusts.request_trust(actor=bob.wallet, request_type=TrustRequestType.YIELD, requestee="alice")
    operations.send_bundle(actor=bob.wallet, sender="alice", receiver="bobby", size=1)
    assert list_counts.roll_up()
    trusts.accept_trust(actor=alice.wallet, trust_id=trust.id)
    assert (transfers_total(alice.wallet), wallets_total(alice.wallet)) == (2, 4)
    # Of wallets that are counted for the first time together, one has transfers.
    trusts.open_managed_wallet(actor=alice.wallet, name="shoot")
    assert list_counts.roll_up()
    assert (transfers_total(alice.wallet), wallets_total(alice.wallet)) == (2, 5)


@pytest.mark.django_db(transaction=True)
@pytest.mark.parametrize("is_noted", [True, False], ids=["noted", "control: not noted"])
def test_control_that_is_gained_while_counts_roll_up_is_counted(
    alice: Caller, bob: Caller, carol: Caller, is_noted: bool
) -> None:
    """Carol gains control of bob in a transaction that commits after `roll_up` has counted for both."""
    operations.send_bundle(actor=alice.wallet, sender="alice", receiver="bobby", size=1)
    trust = trusts.request_trust(actor=bob.wallet, request_type=TrustRequestType.YIELD, requestee="carol")
    accepted, commit = threading.Event(), threading.Event()

    def accept() -> None:
        try:
            with transaction.atomic():
                trusts.accept_trust(actor=carol.wallet, trust_id=trust.id)
                if not is_noted:
                    ControlChange.objects.all().delete()
                accepted.set()
                assert commit.wait(timeout=60)
        finally:
            connections.close_all()

    thread = threading.Thread(target=accept, daemon=True)
    thread.start()
    assert accepted.wait(timeout=60)
    assert list_counts.roll_up()
    assert (transfers_total(carol.wallet), wallets_total(carol.wallet)) == (0, 1)
    commit.set()
    thread.join(timeout=60)

    expected = (1, 2) if is_noted else (0, 1)
    assert (transfers_total(carol.wallet), wallets_total(carol.wallet)) == expected
    assert list_counts.roll_up()
    assert (transfers_total(carol.wallet), wallets_total(carol.wallet)) == expected


_PLANT = """
INSERT INTO transfers_transfer (
       id, number, originator_id, source_id, destination_id, parameters, state, token_count, reserved_count,
       moved_count, created_at, closed_at, closed_event, closed_from)
SELECT gen_random_uuid(), nextval('wallets_event_number'), %(alice)s, %(alice)s,
       CASE i %% 2 WHEN 0 THEN %(sapling)s::uuid ELSE %(carol)s::uuid END, '{"bundle": {"bundleSize": 1}}', state, 1,
       (state = 'pending')::int, (state = 'completed')::int, now() + i * interval '1 ms',
       CASE WHEN state IN ('completed', 'cancelled')
            THEN now() + i * interval '1 ms' + CASE i %% 25 WHEN 7 THEN interval '500 ms' ELSE '0' END END, '', ''
  FROM generate_series(1, 6000) AS i
 CROSS JOIN LATERAL (
           SELECT CASE i %% 50 WHEN 0 THEN 'cancelled' WHEN 1 THEN 'pending' ELSE 'completed' END
       ) AS each (state)
"""


def plan_of(sql: str) -> Any:
    with connection.cursor() as cursor:
        cursor.execute("EXPLAIN (ANALYZE, BUFFERS, FORMAT JSON) " + sql)
        return cursor.fetchone()[0][0]["Plan"]


def rows_read(plan: Any) -> int:
    """Return how many rows of transfers a statement read."""
    own = plan["Actual Rows"] + plan.get("Rows Removed by Filter", 0) if "transfers_transfer" in plan.values() else 0
    return int(own * plan["Actual Loops"]) + sum(rows_read(each) for each in plan.get("Plans", []))


@pytest.mark.django_db
@pytest.mark.parametrize(
    "sort_by", ["id", "source_wallet_id", "destination_wallet_id", "originator_wallet_id", "created_at"]
)
def test_of_a_short_time_the_rows_of_that_time_are_read_in_whatever_order(
    alice: Caller, carol: Caller, sapling: Wallet, sort_by: str
) -> None:
    with connection.cursor() as cursor:
        cursor.execute("SELECT setval('wallets_event_number', nextval('wallets_event_number') + 1000000)")
        cursor.execute("SET LOCAL session_replication_role = replica")
        cursor.execute(_PLANT, {"alice": alice.wallet.pk, "sapling": sapling.pk, "carol": carol.wallet.pk})
        cursor.execute("SET LOCAL session_replication_role = DEFAULT")
        cursor.execute("ANALYZE transfers_transfer")
    assert list_counts.roll_up()
    # In the middle of a span, whichever numbers earlier tests have taken.
    half = list_counts.SPAN // 2
    number = Transfer.objects.order_by("number")[2000].number // list_counts.SPAN * list_counts.SPAN + 3 * half
    middle = Transfer.objects.get(number=number)
    selection = transfer_lists.TransferSelection(
        sort_by=sort_by,
        since=middle.created_at,
        until=Transfer.objects.get(number=middle.number + 60).created_at,
    )

    with CaptureQueriesContext(connection) as captured:
        page = transfer_lists.transfers_visible_to(actor_id=alice.wallet.pk, limit=20, selection=selection)

    assert page.last is not None
    # At most two spans of numbers have such times. The rows are read for each party, and before that half as many in
    # the index of the order.
    with connection.cursor() as cursor:
        # The table is small, and would be read whole.
        cursor.execute("SET LOCAL enable_seqscan = off")
    read = [rows_read(plan_of(each["sql"])) for each in captured]
    assert sum(read) < 7.2 * list_counts.SPAN, read
    list_pages._BY_KEY._misses.clear()


@pytest.mark.django_db
def test_a_total_and_an_order_cost_no_more_than_a_page(alice: Caller, carol: Caller, sapling: Wallet) -> None:
    with connection.cursor() as cursor:
        cursor.execute("SELECT setval('wallets_event_number', nextval('wallets_event_number') + 1000000)")
        cursor.execute("SET LOCAL session_replication_role = replica")
        cursor.execute(_PLANT, {"alice": alice.wallet.pk, "sapling": sapling.pk, "carol": carol.wallet.pk})
        cursor.execute("SET LOCAL session_replication_role = DEFAULT")
        cursor.execute("ANALYZE transfers_transfer")
    assert list_counts.roll_up()

    def blocks(counts: bool = True, after: Any = None, **selection: Any) -> int:
        with CaptureQueriesContext(connection) as captured:
            page = transfer_lists.transfers_visible_to(
                actor_id=alice.wallet.pk,
                limit=20,
                selection=transfer_lists.TransferSelection(**selection),
                counts=counts,
                after=after,
                shows_token_count=True,
            )
        list_pages._BY_KEY._misses.clear()
        # One statement, which reads an index.
        assert len(captured) == 1
        assert page.total == (6000 if counts and "state" not in selection else page.total)
        assert page.last is not None
        plan = plan_of(captured[-1]["sql"])
        return int(plan["Shared Hit Blocks"] + plan["Shared Read Blocks"])

    page = blocks(counts=False)
    middle = Transfer.objects.filter(state="completed").order_by("number")[3000]
    later = middle.created_at.isoformat()
    read = {
        "created": blocks(),
        "by time": blocks(sort_by="created_at"),
        "by time, deep": blocks(sort_by="created_at", is_descending=True, after=[later, middle.number]),
        "by closing": blocks(sort_by="closed_at"),
        "by closing, deep": blocks(sort_by="closed_at", is_descending=True, after=[later, middle.number]),
        "by closing, completed": blocks(
            sort_by="closed_at", state="completed", after=[later, middle.number], counts=False
        ),
        "by state": blocks(sort_by="state", is_descending=True, after=[3, 3000]),
        "created since": blocks(since=middle.created_at, counts=False),
        "created before": blocks(until=middle.created_at, counts=False, after=[middle.number - 1000]),
        "by time since": blocks(since=middle.created_at, counts=False, sort_by="created_at"),
        "by id": blocks(sort_by="id"),
        "by id since": blocks(sort_by="id", since=middle.created_at, counts=False),
        "by source": blocks(sort_by="source_wallet_id"),
        "by source, deep": blocks(sort_by="source_wallet_id", after=[str(alice.wallet.pk), middle.number]),
        "by destination": blocks(sort_by="destination_wallet_id", is_descending=True),
        "by destination, deep": blocks(
            sort_by="destination_wallet_id", after=[str(middle.destination_id), middle.number], counts=False
        ),
        "waiting first": blocks(is_descending=True, waiting_first=True),
        "waiting first, deep": blocks(is_descending=True, waiting_first=True, after=[-2, later, middle.number]),
    }
    # Counted in an index; each of the 120 rows is looked up for its two parties, because nothing was vacuumed.
    cancelled = blocks(state="cancelled", is_descending=True, waiting_first=True)

    # A row of the page is looked up, and its wallets' names; by time, each row within the margins.
    assert page < 20 * 4 * 4
    limit = page + 120 + 2 * list_pages.MARGIN
    # By closing, also the rows that were closed later, from an index. Rows that earlier tests left dead add blocks.
    limits = {name: limit + 2 * list_pages.MARGIN if name.startswith("by closing") else limit for name in read}
    assert {name: each for name, each in read.items() if each > limits[name]} == {}
    assert cancelled < page + 120 * 6 + 2 * list_pages.MARGIN
