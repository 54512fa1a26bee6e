"""Which queue a message goes to: messages of beat do not wait behind the tasks of wallets."""

import os
import uuid

import pytest
import redis
from celery import current_app

from config.ops import redis_status
from lockers import dispatch


@pytest.fixture
def emptied() -> redis.Redis:
    client = redis.Redis.from_url(os.environ["REDIS_URL"])
    client.delete(redis_status.QUEUE_KEY, redis_status.TASKS_QUEUE_KEY)
    return client


def test_tasks_of_wallets_and_what_beat_rings_for_stand_apart(emptied: redis.Redis) -> None:
    for _ in range(3):
        dispatch.enqueue(uuid.uuid4())
    current_app.send_task("lockers.sweep", ignore_result=True)

    assert (emptied.llen(redis_status.QUEUE_KEY), emptied.llen(redis_status.TASKS_QUEUE_KEY)) == (1, 3)
    assert redis_status.queue(os.environ["REDIS_URL"])[0] == 4
    assert {queue.name for queue in current_app.amqp.queues.values()} >= {
        redis_status.QUEUE_KEY,
        redis_status.TASKS_QUEUE_KEY,
    }
    emptied.delete(redis_status.QUEUE_KEY, redis_status.TASKS_QUEUE_KEY)
