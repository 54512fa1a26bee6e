"""What each scheduled task of the installation does, by its effect: the functions behind it have tests of their own."""

from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from django.db import connection
from django.utils import timezone

from config import celery_settings, tasks
from config.admin.models import Alert, FormerName
from config.ops import partitions, pseudonyms, request_log
from transfers import operations
from transfers.seal_models import Seal
from wallets import operations as wallets
from wallets.models import AuditRun, EventPosition

# Those whose effects other tests see: test_health, tests/admin/test_notices, tests/wallets/test_commands.
ELSEWHERE = {"config.heartbeat", "config.send_notices", "config.purge_expired"}


def named(relation: str) -> Any:
    with connection.cursor() as cursor:
        cursor.execute("SELECT to_regclass(%s)::text", [relation])
        return cursor.fetchone()[0]


def publish_position() -> None:
    assert not EventPosition.objects.exists()
    tasks.publish_position()
    assert EventPosition.objects.get().at <= timezone.now()


def tidy_partitions() -> None:
    today = datetime.now(UTC).date()
    with connection.cursor() as cursor:
        cursor.execute(f"DROP TABLE IF EXISTS {request_log.PARTITIONS.partition(today)}")
        # What `event_retention` leaves when it is interrupted.
        cursor.execute("ALTER TABLE wallets_event_default ADD CONSTRAINT events_of_later CHECK (true) NOT VALID")
    partitions.create(partitions.ANSWERS, today - timedelta(days=400))
    tasks.tidy_partitions()
    assert named(request_log.PARTITIONS.partition(today)) is not None
    assert named(partitions.ANSWERS.partition(today - timedelta(days=400))) is None
    with connection.cursor() as cursor:
        cursor.execute("SELECT count(*) FROM pg_constraint WHERE conname = 'events_of_later'")
        assert cursor.fetchone() == (0,)


def finish_pseudonyms() -> None:
    pseudonyms.pseudonymise(wallet_id=wallets.create_wallet(name="carol").pk)
    FormerName.objects.update(due_at=timezone.now() - timedelta(days=1))
    tasks.finish_pseudonyms()
    assert not FormerName.objects.exists()


def audit() -> None:
    tasks.audit()
    assert list(AuditRun.objects.values_list("is_of_all", "result")) == [(False, "sound")]


def audit_all() -> None:
    tasks.audit_all()
    assert list(AuditRun.objects.filter(is_of_all=True).values_list("result", flat=True)) == ["sound"]
    tasks.audit_all()
    assert AuditRun.objects.filter(is_of_all=True).count() == 1


def check_alerts() -> None:
    tasks.check_alerts()
    assert "backup" in " ".join(Alert.objects.values_list("kind", flat=True))


def seal() -> None:
    operations.issue_tokens(wallet=wallets.create_wallet(name="alice"), count=1)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("django.conf.settings.SEAL_EVERY_MINUTES", 0)
        tasks.seal()
        assert not Seal.objects.exists()
    tasks.seal()
    assert Seal.objects.exists()


STEPS = (publish_position, tidy_partitions, finish_pseudonyms, audit, audit_all, check_alerts, seal)


@pytest.mark.django_db
def test_each_scheduled_task_does_its_work(settings: Any) -> None:
    settings.BACKUP_HOURS, settings.FULL_AUDIT_HOUR, settings.SEAL_EVERY_MINUTES = 1, 0, 10
    for step in STEPS:
        step()

    scheduled = {entry["task"] for entry in celery_settings.beat_schedule.values()}
    assert {task for task in scheduled if str(task).startswith("config.")} - ELSEWHERE == {
        f"config.{step.__name__}" for step in STEPS
    }


@pytest.mark.django_db
def test_alerts_are_deleted_90_days_after_their_end_and_open_ones_never() -> None:
    now = timezone.now()
    days = {"old": 91, "young": 89, "open": None}
    for subject, ago in days.items():
        Alert.objects.create(
            kind="last-backup", subject=subject, title="x", state="x", opened_at=now - timedelta(days=200), seen_at=now,
            noticed_at=now, closed_at=None if ago is None else now - timedelta(days=ago),
        )  # fmt: skip

    tasks.purge_expired()

    assert set(Alert.objects.values_list("subject", flat=True)) == {"young", "open"}
