"""Other brokers than one server: sentinels that promote a replica, and RabbitMQ. A message only wakes a worker."""

import time
from collections.abc import Callable
from pathlib import Path
from signal import SIGSTOP
from typing import Any

import pytest
from celery import Celery

from config.ops import health, metrics, rabbitmq, redis_status
from lockers import audit, dispatch
from tests.chaos import outages
from tests.chaos.worker import Worker
from tests.chaos.world import World
from tests.support.local_network import LocalNetwork
from tests.support.rabbitmq_process import RabbitMQ, needs_rabbitmq
from tests.support.redis_processes import Watched, servers


@pytest.mark.django_db(transaction=True)
def test_tasks_go_on_when_a_sentinel_promotes_a_replica(
    network: LocalNetwork, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "redis").mkdir()
    with servers(tmp_path / "redis") as started:
        watched = Watched(started)
        monkeypatch.setenv("REDIS_URL", watched.url())
        with outages.workers(network, tmp_path) as start:
            worker = start()
            _go_through(World(network), worker, watched.fail_over)
            # The heartbeats of the worker and of beat are at the new primary.
            since = time.time()
            worker.wait_until(lambda: redis_status.last_heartbeat(watched.url()) > since)
            worker.wait_until(lambda: max(redis_status.workers(watched.url()).values()) > since)
    assert list(audit.audit_findings()) == []


@needs_rabbitmq
@pytest.mark.django_db(transaction=True)
def test_tasks_go_on_when_rabbitmq_is_killed_and_replaced(
    network: LocalNetwork, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, settings: Any
) -> None:
    with RabbitMQ() as broker:
        monkeypatch.setenv("COPPICE_BROKER_URL", broker.url)

        def replace() -> None:
            broker.kill()
            broker.start()
            broker.wait()

        broker.wait()
        with outages.workers(network, tmp_path) as start:
            _go_through(World(network), start(), replace)
        # As the web server publishes and looks at the queues; no worker is left that would empty them.
        settings.BROKER_URL = broker.url
        health.check_broker()
        before = rabbitmq.waiting(broker.url, redis_status.QUEUES)
        with Celery("trees", broker=broker.url, set_as_current=False) as app:
            app.conf.broker_transport_options = rabbitmq.TRANSPORT_OPTIONS
            for queue in redis_status.QUEUES:
                app.send_task(dispatch.RUN_TASK, queue=queue, retry=False, ignore_result=True)
        assert rabbitmq.waiting(broker.url, [*redis_status.QUEUES, "a queue that no worker has declared"]) == before + 2
        metrics_of = {metric.name: metric.samples[0].value for metric in metrics._broker()}
        assert metrics_of["coppice_queue_messages"] == before + 2
        assert "coppice_queue_unacknowledged" not in metrics_of
    assert list(audit.audit_findings()) == []


def _go_through(makes: World, worker: Worker, lose: Callable[[], None]) -> None:
    """An upload completes; the broker fails over while a put is under way, and that put and the next one complete."""
    upload = makes.import_()
    outages.forget_the_message(upload)
    worker.wait_until(lambda: upload.state() != "running")
    assert upload.state() == "completed", worker.log.read_text()[-3000:]
    upload.assert_nothing_is_lost()

    worker.signal(SIGSTOP)
    outages.of_a_lost_broker(makes, worker, lose)
