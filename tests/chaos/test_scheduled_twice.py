"""Each scheduled task runs twice at once, as two beats would have it, and has one effect."""

from collections.abc import Callable
from datetime import timedelta
from typing import Any, Final, NamedTuple

import pytest
import redis
from celery import current_app
from django.conf import settings as django_settings
from django.db import connection
from django.utils import timezone

from config.admin.models import Alert, AlertNotice, FormerName
from config.celery_settings import beat_schedule
from config.ops import audits, pseudonyms, redis_status
from lockers.models import Coin, LockerTask, PaymentRequest, ServerReading
from lockers.operations import payment_requests
from lockers.raida.coins import UNITS_PER_COIN
from lockers.states import PaymentMode
from tests.chaos import outages
from tests.chaos.world import World
from tests.concurrency.races import race
from tests.lockers.conftest import Mint
from tests.support.coin_commands import give
from tests.support.expiring_lockers import fill
from tests.support.expiring_lockers import let_expire as let_locker_expire
from tests.support.local_network import LocalNetwork
from tests.transfers.books import let_expire
from tests.webhooks.receiver import Receiver, receiving
from transfers import operations as transfers
from transfers import outcome_counts
from transfers.models import Transfer
from transfers.seal_models import Seal
from wallets import event_sequence
from wallets import operations as wallets
from wallets.models import AuditRun, BearerToken, Event, EventPosition, Wallet
from wallets.states import EventType
from webhooks import operations as webhooks


class Due(NamedTuple):
    """What the entries find to do."""

    network: LocalNetwork
    alice: Wallet
    bob: Wallet
    mint: Mint
    receiver: Receiver
    broker: redis.Redis


class Entry(NamedTuple):
    """`prepare` makes something due, and `measure` counts it: `effect` more after two runs at once."""

    measure: Callable[[Due], int]
    effect: int
    prepare: Callable[[Due], object] = lambda world: None


def _expired_transfer(world: Due) -> None:
    transfers.issue_tokens(wallet=world.alice, count=3)
    transfer = transfers.send_bundle(actor=world.alice, sender="alice", receiver=world.bob.name, size=3)
    let_expire(transfer.id)


def _expired_request(world: Due) -> None:
    payment_requests.create(
        actor=world.alice, name=None, units=5 * UNITS_PER_COIN, description="Two seedlings", mode=PaymentMode.SINGLE
    )
    PaymentRequest.objects.update(expires_at="2020-01-01T00:00Z")


def _webhook_event(world: Due) -> None:
    webhooks.create(actor=world.alice, url=world.receiver.url)
    wallets.record_events([(world.alice.pk, EventType.LOGIN, {"wallet": "alice"})])


def _old_token(world: Due) -> None:
    wallets.authenticate(name_or_id="alice", password="correct horse")
    BearerToken.objects.update(created_at="2020-01-01T00:00Z", expires_at="2020-01-02T00:00Z")


def _pseudonymised(world: Due) -> None:
    pseudonyms.pseudonymise(wallet_id=wallets.create_wallet(name="closed").pk)
    FormerName.objects.update(due_at="2020-01-01T00:00Z")


def _events(kind: str) -> Callable[[Due], int]:
    return lambda world: Event.objects.filter(type=kind).count()


def _doubled_alerts(world: Due) -> int:
    opened = list(Alert.objects.values_list("kind", "subject"))
    return len(opened) - len(set(opened))


ENTRIES: Final[dict[str, Entry]] = {
    "sweep": Entry(
        lambda world: int(world.broker.llen(redis_status.TASKS_QUEUE_KEY)),  # type: ignore[arg-type]
        1,
        lambda world: outages.put_that_waits(World(world.network)),
    ),
    "follow up": Entry(lambda world: LockerTask.objects.count(), 0),
    "take backs": Entry(
        lambda world: LockerTask.objects.filter(kind="take").count(),
        1,
        lambda world: (give(world.alice, world.mint(1, 0, 0, 0)), let_locker_expire(fill(world.alice, 12))),
    ),
    "heartbeat": Entry(lambda world: int(redis_status.last_heartbeat(django_settings.REDIS_URL) > 0), 1),
    "readings": Entry(lambda world: ServerReading.objects.values("raida").distinct().count(), 25),
    "checks": Entry(lambda world: Coin.objects.count(), 0),
    "fold": Entry(lambda world: len(audits.findings()), 0, _expired_transfer),
    "outcomes": Entry(
        lambda world: outcome_counts.totals()["failed"] - Transfer.objects.filter(state="failed").count(), 0
    ),
    # One of each party.
    "expiries": Entry(_events("transfer_failed"), 2),
    "payment requests": Entry(_events("payment_request.expired"), 1, _expired_request),
    "webhooks": Entry(lambda world: len(world.receiver.received), 1, _webhook_event),
    "partitions": Entry(lambda world: _partitions_of("wallets_idempotentanswer"), 0),
    "pseudonyms": Entry(lambda world: FormerName.objects.count(), -1, _pseudonymised),
    "movement partitions": Entry(lambda world: _partitions_of("transfers_movement"), 0),
    "audit": Entry(lambda world: AuditRun.objects.count(), 1),
    "daily audit": Entry(lambda world: AuditRun.objects.filter(is_of_all=True).count(), 1),
    "seals": Entry(lambda world: Seal.objects.count(), 1),
    "position": Entry(lambda world: EventPosition.objects.count(), 0, lambda world: event_sequence.publish()),
    "alerts": Entry(
        _doubled_alerts,
        0,
        lambda world: LockerTask.objects.update(deadline=timezone.now() - timedelta(minutes=1), seen_at=None),
    ),
    "notices": Entry(lambda world: len(world.receiver.received), 1),
    "looks": Entry(lambda world: LockerTask.objects.count(), 0),
    "purge": Entry(lambda world: BearerToken.objects.count(), -1, _old_token),
}


def _partitions_of(table: str) -> int:
    with connection.cursor() as cursor:
        cursor.execute("SELECT count(*) FROM pg_inherits WHERE inhparent = %s::regclass", [table])
        number: int = cursor.fetchone()[0]
        return number


def test_every_entry_is_here() -> None:
    assert set(ENTRIES) == set(beat_schedule)


@pytest.mark.django_db(transaction=True)
def test_a_task_that_runs_twice_at_once_has_one_effect(
    network: LocalNetwork, mint: Mint, alice: Wallet, bob: Wallet, settings: Any
) -> None:
    current_app.loader.import_default_modules()
    settings.WEBHOOK_ALLOWED_NETWORKS = ["127.0.0.0/8"]
    with receiving() as receiver, redis.Redis.from_url(settings.REDIS_URL) as broker:
        settings.ALERT_URL = receiver.url
        broker.delete(*redis_status.QUEUES, redis_status.HEARTBEAT_KEY)
        world = Due(network, alice, bob, mint, receiver, broker)
        for name, entry in ENTRIES.items():
            entry.prepare(world)
            before, found = entry.measure(world), audits.findings()
            task = current_app.tasks[beat_schedule[name]["task"]]

            outcomes = race([task, task])

            assert outcomes == [None, None], name
            effect = AlertNotice.objects.count() if name == "notices" else entry.effect
            assert entry.measure(world) - before == effect, name
            # What makes an alert red is a finding, too.
            assert audits.findings() == found, name
            assert found == [] or name in {"alerts", "notices", "looks", "purge"}, found
        broker.delete(*redis_status.QUEUES)
