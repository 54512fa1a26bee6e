"""Events that are kept for a number of days are dropped by partition, and a cursor before them is refused."""

from collections.abc import Iterator
from datetime import date, timedelta
from typing import Any

import pytest
from django.conf import LazySettings
from django.db import IntegrityError, OperationalError, connection, transaction

from config.ops import audits, event_retention, partitions
from tests.api.caller import PASSWORD, Caller, answer
from tests.concurrency.writers import a_writer_that_has_no_number_yet, uncommitted
from tests.support.migrated_apps import go_to, migrated_back
from tests.support.pagination import next_path
from transfers import events, outcome_counts
from transfers.errors import EventsExpired
from wallets import event_sequence
from wallets import operations as wallets
from wallets.models import Event, EventPosition
from webhooks import operations as webhooks
from webhooks.models import FanOut

pytestmark = pytest.mark.django_db(transaction=True)
EVENTS = event_retention.EVENTS
DAY = timedelta(days=1)


def sql(statement: str, *values: object) -> Any:
    with connection.cursor() as cursor:
        cursor.execute(statement, values or None)
        return cursor.fetchall() if cursor.description else None


@pytest.fixture(autouse=True)
def parts() -> Iterator[None]:
    """Only the default partition is there before and after a test."""
    assert partitions.days(EVENTS) == []
    yield
    with transaction.atomic():
        sql("SET LOCAL session_replication_role = replica")
        sql("DELETE FROM wallets_event")
    for day in partitions.days(EVENTS):
        partitions.drop(EVENTS, day)


def tidy(monkeypatch: pytest.MonkeyPatch, day: date, *, later: bool = False) -> list[date]:
    """Run the task on a day; with `later`, as if two minutes after it stored from which number events are kept."""
    if later:
        EventPosition.objects.update(kept_from_at=sql("SELECT now() - interval '121 seconds'")[0][0])
    monkeypatch.setattr(partitions, "today", lambda: day)
    event_retention.tidy()
    return partitions.days(EVENTS)


def log_in(caller: Caller, *days: date) -> None:
    """Log in, as if on these days."""
    for day in days:
        caller.post("/auth", {"wallet": caller.wallet.name, "password": PASSWORD}, authorization=None)
        with transaction.atomic():
            sql("SET LOCAL session_replication_role = replica")
            sql(
                "UPDATE wallets_event SET created_at = %s WHERE number = (SELECT max(number) FROM wallets_event)",
                f"{day} 12:00+00",
            )


def feed(caller: Caller, path: str) -> tuple[list[int], str]:
    """Return the numbers of the events of all pages from a URL on, and the URL of later events."""
    found: list[Any] = []
    while True:
        response = caller.get(path)
        found += answer(response)[1]["events"]
        if (following := next_path(response)) is None:
            numbers = dict(Event.objects.values_list("id", "number"))
            return [numbers.get(each["id"], each) for each in found], next_path(response, "monitor")
        path = following


def test_events_are_dropped_when_they_are_old_and_were_read_by_all(
    alice: Caller, bob: Caller, settings: LazySettings, monkeypatch: pytest.MonkeyPatch
) -> None:
    today = partitions.today()
    first = EVENTS.first_day(today + 2 * DAY)
    block = first if first > today else first + EVENTS.days * DAY
    event_sequence.publish()
    every = feed(alice, "/events?limit=100")[0]
    # The newest one decides whether the default partition is old.
    with transaction.atomic():
        sql("SET LOCAL session_replication_role = replica")
        sql("UPDATE wallets_event SET created_at = %s WHERE number = (SELECT min(number) FROM wallets_event)",
            f"{today - DAY} 12:00+00")  # fmt: skip
    assert [event_retention._is_default_expired(each) for each in (today, today + DAY)] == [False, True]

    # Off: nothing is partitioned, whatever the day.
    assert tidy(monkeypatch, block + 4000 * DAY) == []
    settings.EVENT_DAYS = 30
    # Not on the day before: events of the block would be refused if it took until midnight.
    assert tidy(monkeypatch, block - DAY) == []
    assert tidy(monkeypatch, block - 15 * DAY) == []
    assert tidy(monkeypatch, block - 14 * DAY) == [block]
    assert sql("SELECT conname FROM pg_constraint WHERE conname = 'events_of_later'") == []
    log_in(alice, block, block + DAY)
    old, stale = feed(alice, "/events?limit=1")[0], next_path(alice.get("/events?limit=1"))
    assert len(old) == len(every) + 2

    assert tidy(monkeypatch, block + 13 * DAY) == [block]
    assert tidy(monkeypatch, block + 14 * DAY) == [block, block + 28 * DAY]

    # The default partition: announced, then emptied, and no earlier.
    expired = block + 31 * DAY
    webhooks._settled()
    FanOut.objects.update(number=0)
    outcome_counts.roll_up()
    # A webhook has still to be sent.
    for _ in range(2):
        tidy(monkeypatch, expired, later=True)
        assert (len(feed(alice, "/events?limit=100")[0]), EventPosition.objects.get().kept_from) == (len(old), 0)
    while webhooks.fan_out():
        pass
    # An old event with a new number, as an import writes it, hides no younger one.
    log_in(alice, today)
    while webhooks.fan_out():
        pass
    outcome_counts.roll_up()
    tidy(monkeypatch, expired)
    assert EventPosition.objects.get().kept_from == 0
    with transaction.atomic():
        sql("SET LOCAL session_replication_role = replica")
        sql("DELETE FROM wallets_event WHERE number = (SELECT max(number) FROM wallets_event)")
    tidy(monkeypatch, expired)
    kept_from = EventPosition.objects.get().kept_from
    assert kept_from == Event.objects.filter(created_at__lt=f"{block} 00:00Z").latest("number").number + 1
    tidy(monkeypatch, expired)
    assert Event.objects.filter(number__lt=kept_from).exists()
    refused = alice.get(stale)
    assert (refused.status_code, refused.json()["message"]) == (
        410,
        "Events after this cursor are no longer kept. Begin again without a cursor",
    )
    kept, later = feed(alice, "/events?limit=1")
    assert kept == old[-2:]
    # Who has read the last of the others misses none.
    ((next_one,), _) = events.page_of([alice.wallet.pk], limit=1, after=[kept_from - 1, 1])
    assert next_one.id == Event.objects.filter(wallet=alice.wallet, number__gte=kept_from).earliest("number").pk
    with pytest.raises(EventsExpired):
        events.page_of([alice.wallet.pk], limit=1, after=[kept_from - 2, 1])
    assert feed(alice, "/events?limit=1&since=2020-01-01")[0] == kept
    tidy(monkeypatch, expired, later=True)
    assert not Event.objects.filter(number__lt=kept_from).exists()
    assert feed(alice, "/events?limit=1")[0] == kept
    assert audits.findings() == []

    # A client that has read all has a cursor that does not expire with what others do.
    quiet = feed(bob, "/events?limit=1")[1]
    assert feed(bob, quiet)[0] == []
    tidy(monkeypatch, block + 54 * DAY)
    for again in (False, True):
        outcome_counts.roll_up()
        webhooks.fan_out()
        assert (block in tidy(monkeypatch, block + (28 + 30) * DAY, later=again)) is not again
        assert feed(bob, quiet)[0] == []
    assert feed(alice, later)[0] == feed(alice, "/events?limit=1")[0] == []
    assert not Event.objects.exists()


def test_an_old_event_that_is_written_as_its_partition_leaves_stays(
    alice: Caller, settings: LazySettings, monkeypatch: pytest.MonkeyPatch
) -> None:
    settings.EVENT_DAYS = 30
    block = EVENTS.first_day(partitions.today()) - 28 * DAY
    partitions.create(EVENTS, block)
    log_in(alice, block)
    event_sequence.publish()
    EventPosition.objects.update(kept_from=Event.objects.latest("number").number + 1)
    drop = partitions.drop

    def after_an_import(*given: Any, **named: Any) -> None:
        log_in(alice, block)
        drop(*given, **named)

    monkeypatch.setattr(partitions, "drop", after_an_import)
    assert block in tidy(monkeypatch, block + 58 * DAY, later=True)
    assert sql("SELECT count(*) FROM wallets_event WHERE created_at < %s", block + 2 * DAY) == [(2,)]


def test_the_number_from_which_events_are_kept_moves_beyond_the_last_event_of_a_partition(alice: Caller) -> None:
    """Also if that event alone is kept: its partition would never be dropped."""
    event_sequence.publish()
    outcome_counts.roll_up()
    while webhooks.fan_out():
        pass
    newest = Event.objects.latest("number").number
    end = partitions.today() + DAY
    # Cursors of now may end before the newest event: they would expire.
    with a_writer_that_has_no_number_yet():
        assert not event_retention._may_drop(event_retention._DEFAULT, end=end)
    assert EventPosition.objects.get().kept_from == 0
    for kept_from, is_known, may_drop, then in (
        (newest + 1, True, True, newest + 1),
        (newest + 1, False, False, newest + 1),
        (newest, True, False, newest + 1),
        (0, True, False, newest + 1),
    ):
        ago = sql("SELECT now() - make_interval(secs => %s)", 121 if is_known else 119)[0][0]
        EventPosition.objects.update(kept_from=kept_from, kept_from_at=ago)
        assert event_retention._may_drop(event_retention._DEFAULT, end=end) is may_drop, kept_from
        assert EventPosition.objects.get().kept_from == then, kept_from


@pytest.mark.parametrize("event_days", [0, 30])
def test_what_an_interrupted_run_left_is_removed(
    event_days: int, settings: LazySettings, monkeypatch: pytest.MonkeyPatch
) -> None:
    settings.EVENT_DAYS = event_days
    sql("ALTER TABLE wallets_event_default ADD CONSTRAINT events_of_later CHECK (created_at < '2100-01-01') NOT VALID")
    tidy(monkeypatch, EVENTS.first_day(partitions.today()) + 9 * DAY)
    assert sql("SELECT conname FROM pg_constraint WHERE conname = 'events_of_later'") == []


@pytest.mark.parametrize("days", [0, 30])
def test_the_cursor_of_who_has_read_all_moves_on_with_the_events_of_others(
    alice: Caller, settings: LazySettings, days: int
) -> None:
    settings.EVENT_DAYS = days
    _, monitor = feed(alice, "/events?limit=100")
    assert feed(alice, monitor) == ([], monitor)
    wallets.create_wallet(name="seedling")

    read, later = feed(alice, monitor)

    assert read == []
    assert later != monitor


def killed(*_: object) -> None:
    raise KeyboardInterrupt


def test_what_a_killed_run_left_refuses_no_event_for_two_weeks(
    alice: Caller, settings: LazySettings, monkeypatch: pytest.MonkeyPatch
) -> None:
    settings.EVENT_DAYS = 30
    block = EVENTS.first_day(partitions.today()) + 2 * EVENTS.days * DAY
    with monkeypatch.context() as patch:
        patch.setattr(partitions, "create", killed)
        patch.setattr(event_retention, "_drop_constraint", lambda: None)
        with pytest.raises(KeyboardInterrupt):
            tidy(patch, block - 14 * DAY)

    log_in(alice, block - 14 * DAY, block - DAY)
    with pytest.raises(IntegrityError, match="events_of_later"):
        log_in(alice, block)
    assert tidy(monkeypatch, block - 13 * DAY) == [block]
    log_in(alice, block)


def test_a_cursor_never_goes_back(alice: Caller, settings: LazySettings) -> None:
    settings.EVENT_DAYS = 30
    read, monitor = feed(alice, "/events?limit=100")
    assert read

    # What is final ends before the cursor now, as it does on a replica that has not replayed all.
    with a_writer_that_has_no_number_yet():
        again, monitor = feed(alice, monitor)
    assert again == []
    assert feed(alice, monitor)[0] == []


def test_the_migration_copies_no_event(alice: Caller) -> None:
    before = list(Event.objects.order_by("number").values())

    node = sql("SELECT pg_relation_filenode('wallets_event_default')")
    with migrated_back("wallets", "0020_audit_scope"):
        assert sql("SELECT to_regclass('wallets_event_default')") == [(None,)]
        alice.post("/auth", {"wallet": "alice", "password": PASSWORD}, authorization=None)
        file = sql("SELECT pg_relation_filenode('wallets_event')")
    assert file == sql("SELECT pg_relation_filenode('wallets_event_default')") != node
    assert list(Event.objects.order_by("number").values())[:-1] == before


def test_the_migration_can_run_again_after_it_failed(alice: Caller) -> None:
    # A backup reads the row of the position.
    lock = "LOCK TABLE wallets_eventposition IN ACCESS SHARE MODE"
    with migrated_back("wallets", "0020_audit_scope"), uncommitted(lambda: sql(lock)):
        sql("SET lock_timeout = '200ms'")
        with pytest.raises(OperationalError, match="lock timeout"):
            go_to("wallets", "0021_events_by_time")
        sql("RESET lock_timeout")
    assert sql("SELECT count(*) FROM wallets_event") == sql("SELECT count(*) FROM wallets_event_default") != [(0,)]
