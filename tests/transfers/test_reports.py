"""What operators read about the ledger: each report counts what it says, and nothing beside it."""

from collections.abc import Callable
from datetime import UTC, date, datetime, timedelta
from itertools import pairwise
from random import Random
from typing import Any
from uuid import uuid4

import pytest
from django.db import connection
from django.utils import timezone

from tests.api.caller import Caller
from tests.transfers.books import held_by
from transfers import action_tokens, approvals, counters, operations, reports, token_reports
from transfers.models import DayTally, Transfer, WalletDay
from transfers.states import TransferState
from transfers.token_reports import Month, Period, WalletTotal
from trusts import operations as trusts
from trusts.states import TrustRequestType
from wallets.models import Token, Wallet


def execute(statement: str, *values: Any) -> None:
    """Change rows past the triggers, which would refuse another time."""
    with connection.cursor() as cursor:
        cursor.execute("SET LOCAL session_replication_role = replica")
        cursor.execute(statement, values)
        cursor.execute("SET LOCAL session_replication_role = DEFAULT")


def made(ago: timedelta, transfer_id: Any) -> datetime:
    """Let the transfer be so old, and return its time."""
    at = timezone.now() - ago
    execute("UPDATE transfers_transfer SET created_at = %s WHERE id = %s", at, transfer_id)
    return at


@pytest.fixture
def send(alice: Caller, bob: Caller, sapling: Wallet) -> Callable[..., Any]:
    """Transfer from one wallet to another, of alice or for bob."""

    def transfer(sender: str, receiver: str, size: int = 1, *, by: Caller = alice) -> Any:
        return operations.send_bundle(actor=by.wallet, sender=sender, receiver=receiver, size=size).id

    return transfer


@pytest.mark.parametrize(
    ("pending_days", "requested_days", "by_age"),
    [(2, 8, ((1, 0, 1, 0, 0), (1, 1, 0, 0, 1))), (9, 5, ((1, 0, 0, 0, 1), (1, 1, 0, 1, 0)))],
)
def test_open_transfers_are_summed_up_by_state_and_age(
    alice: Caller, bob: Caller, send: Any, pending_days: int, requested_days: int, by_age: Any
) -> None:
    hour = timedelta(hours=1)
    send("alice", "sapling")
    pending = [send("alice", "bobby"), send("sapling", "bobby", 2)]
    requested = [send("alice", "bobby", 1, by=bob) for _ in range(3)]
    operations.decline(actor=bob.wallet, transfer_id=send("alice", "bobby"))
    oldest_pending = made(24 * pending_days * hour, pending[0])
    made(2 * hour, requested[0])
    oldest_requested = made(24 * requested_days * hour, requested[1])

    found = reports.ledger_summary()

    assert found.is_sound
    assert (found.issued, found.held, found.reserved_tokens, found.reserved_by_transfers) == (8, 8, 3, 3)
    assert found.pending == reports.Waiting(2, 3, oldest_pending, by_age[0])
    assert found.requested == reports.Waiting(3, 3, oldest_requested, by_age[1])
    assert found.has_transfers


def test_claim_links_reserve_tokens_as_long_as_they_are_active(alice: Caller) -> None:
    _, closed = (action_tokens.offer_bundles(actor=alice.wallet, sender=None, size=size)[0] for size in (1, 2))
    action_tokens.cancel(actor=alice.wallet, action_token_id=closed.id)

    found = reports.ledger_summary()

    assert (found.reserved_tokens, found.reserved_by_transfers, found.is_sound) == (1, 1, True)


def test_a_ledger_is_sound_if_both_counts_of_issued_and_of_reserved_tokens_agree() -> None:
    nothing = reports.Waiting(0, 0, None, (0, 0, 0, 0, 0))
    for counts, is_sound in (((5, 5, 2, 2), True), ((6, 5, 2, 2), False), ((5, 5, 2, 3), False), ((5, 4, 2, 1), False)):
        assert reports.LedgerSummary(*counts, nothing, nothing, True).is_sound is is_sound, counts


@pytest.mark.django_db
def test_an_empty_ledger_is_sound_and_has_no_oldest_transfer() -> None:
    nothing = reports.Waiting(0, 0, None, (0, 0, 0, 0, 0))

    assert reports.ledger_summary() == reports.LedgerSummary(0, 0, 0, 0, nothing, nothing, False)


@pytest.mark.parametrize("is_rolled_up", [True, False])
def test_transfers_of_a_day_are_counted_by_their_state_now(
    alice: Caller, bob: Caller, send: Any, is_rolled_up: bool
) -> None:
    day = timedelta(days=1)
    completed = [send("alice", "sapling") for _ in range(2)]
    accepted, declined, pending = (send("alice", "bobby", 1) for _ in range(3))
    operations.accept(actor=bob.wallet, transfer_id=accepted)
    operations.decline(actor=bob.wallet, transfer_id=declined)
    made(day, completed[0])
    made(day, accepted)
    made(3 * day, pending)
    if is_rolled_up:
        assert counters.roll_up()
    now = datetime.now(UTC).date()

    found = reports.days(since=now - 2 * day)

    assert found == [
        reports.Day(now - day, "completed", 2),
        reports.Day(now, "cancelled", 1),
        reports.Day(now, "completed", 1),
    ]


@pytest.mark.parametrize("rolls_up", [(False, False), (True, False), (True, True)])
def test_the_first_day_of_a_report_begins_at_its_midnight(bob: Caller, send: Any, rolls_up: tuple[bool, bool]) -> None:
    """For each state, made before and after the checkpoint: at midnight, just before it, and on a day between."""
    first = datetime.now(UTC).date() - timedelta(days=2)
    midnight = datetime(first.year, first.month, first.day, tzinfo=UTC)
    times = (midnight, midnight - timedelta(microseconds=1), midnight + timedelta(days=1))
    for is_rolled_up in rolls_up:
        for number, at in enumerate(times, start=1):
            completed = [send("alice", "sapling") for _ in range(number)]
            accepted, declined = send("alice", "bobby"), send("alice", "bobby")
            operations.accept(actor=bob.wallet, transfer_id=accepted)
            operations.decline(actor=bob.wallet, transfer_id=declined)
            for each in (*completed, accepted, declined):
                # Closed on another day.
                execute("UPDATE transfers_transfer SET created_at = %s WHERE id = %s", at, each)
            operations.issue_tokens(wallet=Wallet.objects.get(name="alice"), count=4)
        assert not is_rolled_up or counters.roll_up()

    assert reports.days(since=first) == [
        reports.Day(day, state, 2 * number)
        for day, many in ((first, 1), (first + timedelta(days=1), 3))
        for state, number in (("cancelled", 1), ("completed", many + 1))
    ]


def summed(days: list[WalletDay], period: Period) -> tuple[int, int, int, int]:
    """What there was at the end of a period, and was received, sent and issued in it."""
    until = [day for day in days if day.day < period.end]
    within = [day for day in until if day.day >= period.start]
    return (
        sum(day.issued + day.received - day.sent for day in until),
        sum(day.received for day in within), sum(day.sent for day in within), sum(day.issued for day in within),
    )  # fmt: skip


@pytest.mark.parametrize("seed", range(2))
def test_each_report_by_wallet_manager_and_month_is_the_model(
    alice: Caller, bob: Caller, carol: Caller, sapling: Wallet, seed: int
) -> None:
    """With several days for a wallet, periods that begin and end on them, and a wallet without days."""
    # By two trusts.
    manage = trusts.request_trust(actor=bob.wallet, request_type=TrustRequestType.MANAGE, requestee="alice")
    trusts.decline_trust(actor=alice.wallet, trust_id=manage.id)
    given = trusts.request_trust(actor=alice.wallet, request_type=TrustRequestType.YIELD, requestee="bobby")
    trusts.accept_trust(actor=bob.wallet, trust_id=given.id)
    trusts.accept_trust(actor=alice.wallet, trust_id=manage.id)
    trust = trusts.request_trust(actor=carol.wallet, request_type=TrustRequestType.SEND, requestee="bobby")
    trusts.accept_trust(actor=bob.wallet, trust_id=trust.id)
    chosen, dates = Random(seed), [date(2025, 1, 31), date(2025, 2, 1), date(2025, 2, 2), date(2025, 4, 30)]
    WalletDay.objects.all().delete()
    days = WalletDay.objects.bulk_create(
        WalletDay(
            wallet=wallet, day=day, received=chosen.randint(0, 3), sent=chosen.randint(0, 3),
            issued=chosen.randint(1, 3), lines=chosen.randint(1, 9),
        )
        for wallet in (alice.wallet, bob.wallet, sapling)
        for day in dates
    )  # fmt: skip
    own = {wallet.pk: [day for day in days if day.wallet_id == wallet.pk] for wallet in Wallet.objects.all()}
    names = {wallet.pk: wallet for wallet in Wallet.objects.all()}
    managed = {alice.wallet.pk: [sapling.pk], bob.wallet.pk: [alice.wallet.pk]}
    for period in (*map(Period._make, pairwise(dates)), Period(dates[1], date(2025, 3, 1)), Period(dates[0], dates[3])):
        for by_manager in (False, True):
            expected = [
                WalletTotal(id_, names[id_].name, *summed(own[id_], period))
                if not by_manager
                else WalletTotal(
                    id_, names[id_].name,
                    *summed([day for each in (id_, *managed[id_]) for day in own[each]], period), len(managed[id_]),
                )
                for id_ in (managed if by_manager else own)
            ]  # fmt: skip
            expected.sort(key=lambda row: names[row.id].name_key)
            assert list(token_reports.all_totals(period, by_manager=by_manager)) == expected
            pages = [
                token_reports.totals(period, by_manager=by_manager, limit=2, after=after)
                for after in (None, *(row.id for row in expected[1::2]))
            ]
            assert [row for page in pages for row in page] == expected
        known = [day for day in days if day.day < period.end]
        expected_months = []
        for month in (date(2025, number, 1) for number in range(period.start.month, 5)):
            within = [day for day in known if day.day.month == month.month]
            if month < period.end:
                expected_months.append(Month(
                    month, sum(day.issued for day in known if day.day.month <= month.month),
                    sum(day.received for day in within), sum(day.issued for day in within),
                    sum(day.lines for day in within),
                ))  # fmt: skip
        assert token_reports.months(period) == expected_months


def test_the_report_by_month_goes_on_until_now_without_movements(alice: Caller) -> None:
    WalletDay.objects.all().delete()
    WalletDay.objects.create(wallet=alice.wallet, day=date(2025, 1, 31), received=0, sent=0, issued=5, lines=1)
    now = datetime.now(UTC).date().replace(day=1)

    found = token_reports.months(Period(date(2025, 1, 1), now + timedelta(days=400)))

    assert [(each.month, each.held) for each in (found[0], found[-1])] == [(date(2025, 1, 1), 5), (now, 5)]
    assert len(found) == 12 * (now.year - 2025) + now.month


def test_a_day_that_is_counted_in_two_turns_has_the_transfers_of_both(send: Any) -> None:
    for sizes in ((1, 1), (2,)):
        for size in sizes:
            send("alice", "sapling", size)
        assert counters.roll_up()

    today = datetime.now(UTC).date()
    assert reports.days(since=today) == [reports.Day(today, "completed", 3)]
    assert DayTally.objects.values_list("transfers", "tokens").get() == (3, 4)


def test_the_newest_transfers_of_a_wallet_are_those_out_of_and_into_it(
    alice: Caller, bob: Caller, sapling: Wallet, send: Any
) -> None:
    sent = [send("alice", "sapling"), send("sapling", "alice"), send("sapling", "bobby"), send("alice", "bobby")]

    def latest(wallet: Any, limit: int = 9) -> Any:
        return [each.pk for each in reports.latest_transfers(wallet_id=wallet.pk, limit=limit)]

    assert latest(alice.wallet) == [sent[3], sent[1], sent[0]]
    assert latest(sapling) == [sent[2], sent[1], sent[0]]
    assert latest(bob.wallet) == [sent[3], sent[2]]
    assert latest(alice.wallet, 2) == [sent[3], sent[1]]


def test_the_history_of_a_token_is_shown_in_order_and_of_a_long_one_the_end(
    alice: Caller, sapling: Wallet, monkeypatch: pytest.MonkeyPatch
) -> None:
    token = held_by(alice.wallet)[0]
    ways = [("alice", "sapling"), ("sapling", "alice"), ("alice", "sapling")]
    for sender, receiver in ways:
        operations.send_tokens(actor=alice.wallet, sender=sender, receiver=receiver, token_ids=[token])

    def shown() -> Any:
        return [(each.number, each.source, each.destination) for each in reports.provenance(token_id=token)]

    whole = [(0, "", "alice"), *((number, *way) for number, way in enumerate(ways, start=1))]
    assert shown() == whole
    monkeypatch.setattr(reports, "STAGES_SHOWN", 2)
    assert shown() == whole[-2:]


def test_the_tokens_of_a_transfer_are_those_that_it_moved_or_reserves(alice: Caller, bob: Caller, send: Any) -> None:
    moved, reserved, other = send("alice", "sapling", 2), send("sapling", "bobby", 2), send("alice", "bobby", 1)
    declined = send("alice", "bobby", 1)
    operations.decline(actor=bob.wallet, transfer_id=declined)

    def tokens(transfer_id: Any, limit: int = 9) -> Any:
        return reports.tokens_in(transfer=Transfer.objects.get(pk=transfer_id), limit=limit)

    assert set(tokens(moved)) == set(Token.objects.filter(movements__transfer__id=moved).values_list("pk", flat=True))
    for transfer_id in (reserved, other):
        found = Token.objects.filter(transfer_pending_id=transfer_id).order_by("arrival").values_list("pk", flat=True)
        assert tokens(transfer_id) == list(found)
    assert [len(tokens(each)) for each in (moved, reserved, other, declined)] == [2, 2, 1, 0]
    assert tokens(reserved, 1) == tokens(reserved)[:1]


def test_stale_is_what_has_been_open_for_more_than_a_day(alice: Caller, bob: Caller, send: Any) -> None:
    day, moment = reports.LONG, timedelta(seconds=30)
    old, young, closed = (send("alice", "bobby") for _ in range(3))
    asked = send("alice", "bobby", by=bob)
    operations.decline(actor=bob.wallet, transfer_id=closed)
    for transfer_id, ago in ((old, day + moment), (asked, day + moment), (young, day - moment), (closed, 2 * day)):
        made(ago, transfer_id)

    assert set(reports.stale(Transfer.objects.all()).values_list("pk", flat=True)) == {old, asked}
    assert day == timedelta(days=1)


@pytest.mark.parametrize("expires", [True, False])
@pytest.mark.parametrize("state", TransferState.values)
def test_each_event_is_possible_by_the_side_that_decides(
    alice: Caller, bob: Caller, send: Any, state: str, expires: bool
) -> None:
    if state == "completed":
        transfer_id = send("alice", "sapling")
    else:
        transfer_id = send("alice", "bobby", by=bob if state == "requested" else alice)
    if state == "cancelled":
        operations.delete(actor=alice.wallet, transfer_id=transfer_id)
    elif state == "failed":
        operations.expire(transfer_ids=[transfer_id])
    transfer = Transfer.objects.get(pk=transfer_id)
    transfer.expires_at = transfer.created_at if expires else None
    found = {each.event: each for each in reports.allowed_events(transfer)}

    by_alice, by_bob = (f"by {name}, or by a wallet that manages it" for name in ("alice", "bobby"))
    expected = {
        "pending": {"accept": by_bob, "decline": by_bob, "delete": by_alice},
        "requested": {"fulfill": by_alice, "decline": by_alice, "delete": by_bob},
    }.get(state, {})
    if expected and expires:
        expected["expire"] = "by the system only, if no side decides before it expires"
    assert {event: each.why for event, each in found.items() if each.is_possible} == expected
    assert set(found) == {"accept", "fulfill", "decline", "delete", "expire"}


def test_a_transfer_says_whose_approval_it_awaits_and_who_gave_it(alice: Caller, bob: Caller, send: Any) -> None:
    Wallet.objects.filter(pk=alice.wallet.pk).update(approval_above=1)
    made = operations.send_bundle(actor=alice.wallet, sender="alice", receiver="bobby", size=2, credential_id=uuid4())
    transfer = Transfer.objects.get(pk=made.id)

    def told() -> list[tuple[str, str, bool]]:
        return [(each.state, each.words, each.is_reached) for each in reports.timeline(transfer)]

    def possible() -> dict[str, str]:
        return {each.event: each.why for each in reports.allowed_events(transfer) if each.is_possible}

    by_alice = "by alice, or by a wallet that manages it"
    offered = ("pending", "alice offered tokens to bobby; they are reserved", True)
    assert told() == [
        offered, ("pending", "waits for the approval of alice, with another login, or of its manager", False),
    ]  # fmt: skip
    assert possible() == {
        "approve": f"{by_alice}, with another login than the one that asked",
        "refuse": by_alice,
        "delete": by_alice,
        "decline": "by bobby, or by a wallet that manages it",
    }
    reasons = {each.event: each.why for each in reports.allowed_events(transfer)}
    assert reasons["accept"] == "not possible: its sender must approve it first"

    approvals.approve(actor=alice.wallet, credential_id=uuid4(), transfer_id=transfer.pk)
    transfer.refresh_from_db()

    assert told() == [offered, ("pending", "approved by alice", True), ("completed", "waits for bobby", False)]
    assert "approve" not in possible()


def test_a_fulfilled_request_says_so_while_it_awaits_an_approval(alice: Caller, bob: Caller, send: Any) -> None:
    Wallet.objects.filter(pk=alice.wallet.pk).update(approval_above=1)
    transfer_id = send("alice", "bobby", 2, by=bob)
    operations.fulfill(actor=alice.wallet, transfer_id=transfer_id, credential_id=uuid4())
    approvals.approve(actor=alice.wallet, credential_id=uuid4(), transfer_id=transfer_id)

    strip = reports.timeline(Transfer.objects.get(pk=transfer_id))

    assert [(each.state, each.words) for each in strip] == [
        ("requested", "bobby asked alice for tokens"), ("pending", "alice fulfilled it"),
        ("completed", "approved by alice"),
    ]  # fmt: skip
