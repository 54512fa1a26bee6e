"""Messages and deliveries are dropped by week, with their partitions; a week with a pending delivery is kept."""

from collections.abc import Iterator
from datetime import UTC, date, datetime, timedelta
from typing import Any

import pytest
from django.conf import LazySettings
from django.db import connection

from config.ops import metrics, partitions
from tests.concurrency.races import beside, locked
from tests.support.migrated_apps import migrated_back
from transfers import events
from wallets import operations as wallets
from wallets import redis_servers
from wallets.states import EventType
from webhooks import operations
from webhooks.models import Webhook, WebhookDelivery, WebhookMessage
from webhooks.sender import deliveries
from webhooks.sender.deliveries import Result
from webhooks.sender.http import Answer

pytestmark = pytest.mark.django_db(transaction=True)
TABLES = (partitions.MESSAGES, partitions.DELIVERIES)
MONDAY = partitions.DELIVERIES.first_day(datetime.now(UTC).date())
DAY, WEEK = timedelta(days=1), timedelta(days=7)
OLD = MONDAY - 6 * WEEK


def sql(statement: str, *values: object) -> Any:
    with connection.cursor() as cursor:
        cursor.execute(statement, values or None)
        return cursor.fetchall() if cursor.description else None


@pytest.fixture(autouse=True)
def weeks(settings: LazySettings) -> Iterator[None]:
    """The last seven weeks, this one included, have partitions. Afterwards the partitions are those from before."""
    redis_servers.client(settings.REDIS_URL).delete(partitions.DROPPED_KEY)
    before = {table: set(partitions.days(table)) for table in partitions.WITH_DEFAULT}
    for table in TABLES:
        for ago in range(7):
            partitions.create(table, MONDAY - ago * WEEK)
    yield
    for table, those in before.items():
        sql(f"TRUNCATE {table.name}")
        for day in set(partitions.days(table)) - those:
            partitions.drop(table, day)
        for day in those:
            partitions.create(table, day)


@pytest.fixture
def hook(db: None) -> Webhook:
    alice = wallets.create_wallet(name="alice")
    return Webhook.objects.create(wallet=alice, owner=alice, url="http://127.0.0.1:9/", secret=b"-", after_number=0)


def sent(webhook: Webhook, day: date, state: str = "delivered") -> WebhookDelivery:
    at = datetime(day.year, day.month, day.day, 12, tzinfo=UTC)
    message = WebhookMessage.objects.create(type="login", body="{}", created_at=at)
    return WebhookDelivery.objects.create(webhook=webhook, message=message, state=state, created_at=at, due_at=at)


def days() -> list[list[date]]:
    return [partitions.days(table) for table in TABLES]


def places(model: type[WebhookDelivery | WebhookMessage]) -> list[str]:
    rows = sql(f"SELECT tableoid::regclass::text FROM {model._meta.db_table} ORDER BY created_at, id")
    return [name.rpartition("_")[2] for (name,) in rows]


def test_a_week_is_dropped_when_all_its_deliveries_are_too_old(hook: Webhook, monkeypatch: pytest.MonkeyPatch) -> None:
    old, young = sent(hook, OLD), sent(hook, OLD + WEEK)
    sql("ANALYZE webhooks_webhookdelivery")
    for day, is_there in ((OLD + WEEK + 29 * DAY, True), (OLD + WEEK + 30 * DAY, False)):
        monkeypatch.setattr(partitions, "today", lambda day=day: day)
        partitions.tidy()
        assert [each[0] for each in days()] == [OLD if is_there else OLD + WEEK] * 2
        assert WebhookDelivery.objects.filter(pk=old.pk).exists() is is_there
        assert WebhookMessage.objects.filter(pk=old.message_id).exists() is is_there
    assert [*WebhookDelivery.objects.all()] == [young]
    assert WebhookMessage.objects.get().pk == young.message_id
    assert 'coppice_partition_rows_dropped_total{table="webhooks_webhookdelivery"} 1.0' in metrics.exposition().decode()


def test_a_pending_delivery_keeps_its_week_until_it_has_ended(hook: Webhook) -> None:
    late, _ = sent(hook, OLD, state="pending"), sent(hook, OLD)
    partitions.tidy()
    assert [each[0] for each in days()] == [OLD, OLD]
    (claim,) = deliveries.claim(healthy=10, failing=10)
    assert (claim.delivery_id, claim.message_id) == (late.pk, late.message_id)
    partitions.tidy()
    deliveries.settle([Result(claim, Answer(status=204), datetime.now(UTC), 1)])
    late.refresh_from_db()
    assert late.state == "delivered"

    # The control: the delivery has ended. While a transaction reads, the week is kept until the next run.
    with locked("SELECT count(*) FROM webhooks_webhookmessage", []):
        partitions.tidy()
        assert [each[0] for each in days()] == [OLD, OLD]
    partitions.tidy()
    assert not any(OLD in each for each in days())
    assert not WebhookDelivery.objects.exists()


def test_a_week_is_kept_for_a_delivery_that_is_sent_again_after_the_look_without_locks(
    hook: Webhook, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(partitions, "_LOCK_TIMEOUT", "30s")
    for table in TABLES:
        partitions.create_ahead(table)
    again = sent(hook, OLD)
    with beside(partitions.tidy_deliveries) as outcomes:
        WebhookDelivery.objects.update(state="pending")
    assert outcomes == [None]
    assert [each[0] for each in days()] == [OLD, OLD]
    assert [*WebhookDelivery.objects.filter(state="pending")] == [again]


def test_a_pending_delivery_keeps_no_request_waiting(hook: Webhook) -> None:
    sent(hook, OLD, state="pending")
    # A lock in ACCESS EXCLUSIVE mode would wait for the reader, and be given up.
    with locked("SELECT count(*) FROM webhooks_webhookmessage", []):
        assert partitions._drop_deliveries(OLD) is False


def test_the_message_of_a_test_at_the_end_of_the_week_stays_for_its_delivery(hook: Webhook) -> None:
    late = sent(hook, OLD + WEEK, state="pending")
    end = datetime(OLD.year, OLD.month, OLD.day, tzinfo=UTC) + WEEK
    sql("UPDATE webhooks_webhookmessage SET created_at = %s", end - timedelta(milliseconds=1))
    sql("UPDATE webhooks_webhookdelivery SET created_at = %s", end)
    partitions.tidy()
    assert [each.message_id for each in deliveries.claim(healthy=1, failing=1)] == [late.message_id]


def test_without_a_partition_deliveries_go_to_the_default_one_until_they_have_ended(
    hook: Webhook, monkeypatch: pytest.MonkeyPatch
) -> None:
    for table in TABLES:
        partitions.drop(table, MONDAY)
    wallets.record_events([(hook.wallet_id, EventType.LOGIN, {"wallet": "alice"})])
    operations._store(events.events_between(wallet_ids=[hook.wallet_id], after=0, upto=events.settled_number()))
    assert {*places(WebhookDelivery), *places(WebhookMessage)} == {"default"}
    assert 'coppice_partition_default_used{table="webhooks_webhookdelivery"} 1.0' in metrics.exposition().decode()

    # The next weeks have partitions; this one gets none, since its rows are in the default one.
    for ago, state, is_there in ((5, "pending", True), (6, "pending", True), (6, "delivered", False)):
        day = MONDAY + ago * WEEK
        monkeypatch.setattr(partitions, "today", lambda day=day: day)
        WebhookDelivery.objects.update(state=state, lease_until=None)
        partitions.tidy()
        assert MONDAY not in days()[0]
        assert (WebhookDelivery.objects.exists(), WebhookMessage.objects.exists()) == (is_there, is_there), ago


def test_messages_of_a_week_without_a_partition_of_deliveries_are_dropped(monkeypatch: pytest.MonkeyPatch) -> None:
    """The default partition of deliveries had rows of that week when beat began again."""
    sql(f"DROP TABLE {partitions.DELIVERIES.partition(OLD)}")
    monkeypatch.setattr(partitions, "today", lambda: OLD + WEEK + 30 * DAY)

    partitions.tidy()

    assert OLD not in partitions.days(partitions.MESSAGES)


def test_the_migration_keeps_all_rows_and_the_version_before_writes_on(hook: Webhook) -> None:
    old, pending = sent(hook, OLD), sent(hook, OLD + WEEK, state="pending")
    before = [list(model.objects.order_by("id").values()) for model in (Webhook, WebhookDelivery, WebhookMessage)]
    # A delivery whose message has left with its week: the version before has a constraint.
    lost = sent(hook, OLD + WEEK)
    sql("DELETE FROM webhooks_webhookmessage WHERE id = %s", lost.message_id)
    module = __import__("webhooks.migrations.0003_by_week", fromlist=["_mark"])
    with migrated_back("webhooks", "0002_operators"):
        assert sql("SELECT count(*) FROM pg_inherits WHERE inhparent::regclass::text LIKE 'webhooks%'") == [(0,)]
        # As if it was written while the clock was ahead.
        sql("UPDATE webhooks_webhookdelivery SET created_at = now() + interval '9 days' WHERE id = %s", pending.pk)
        with connection.cursor() as cursor:
            # As if the migration had been interrupted after its first step.
            module._mark(cursor)
            # Another week has begun since.
            assert not module._exchange(cursor, MONDAY - WEEK)
        assert sql("SELECT count(*) FROM pg_inherits WHERE inhparent::regclass::text LIKE 'webhooks%'") == [(0,)]
        this = sent(hook, MONDAY)
    assert places(WebhookDelivery) == [f"{MONDAY:%Y%m%d}"] * 3
    assert sql("SELECT conname FROM pg_constraint WHERE conname = 'created_before'") == []
    assert sql("SELECT count(*) FROM pg_index WHERE NOT indisvalid") == [(0,)]
    assert pending.created_at < WebhookDelivery.objects.get(pk=pending.pk).created_at <= datetime.now(UTC)
    sql("UPDATE webhooks_webhookdelivery SET created_at = %s WHERE id = %s", pending.created_at, pending.pk)
    WebhookDelivery.objects.filter(pk=this.pk).delete()
    WebhookMessage.objects.filter(pk=this.message_id).delete()
    after = [list(model.objects.order_by("id").values()) for model in (Webhook, WebhookDelivery, WebhookMessage)]
    assert after == before
    assert {old.pk, pending.pk} == set(WebhookDelivery.objects.values_list("pk", flat=True))
    # Rows that the version before has deleted.
    sql(
        "WITH old AS (SELECT id FROM webhooks_webhookmessage WHERE id = %s), gone AS ("
        " DELETE FROM webhooks_webhookdelivery WHERE message_id IN (SELECT id FROM old))"
        " DELETE FROM webhooks_webhookmessage WHERE id IN (SELECT id FROM old)",
        old.message_id,
    )
    assert [*WebhookDelivery.objects.all()] == [pending]
    # All rows are in the partition of the week of the migration, and are dropped with it.
    for table in TABLES:
        partitions.drop(table, MONDAY)
        partitions.create(table, MONDAY)
