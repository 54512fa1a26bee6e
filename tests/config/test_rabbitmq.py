"""`COPPICE_BROKER_URL`: which URLs are taken, and what is said while the server does not answer."""

from typing import Any

import pytest

from config.ops import health, rabbitmq, redis_status
from tests.ports import silent_port


@pytest.mark.parametrize("url", ["amqp://u:hush@h:5672/trees", "amqps://h", "amqp://u:hush@[::1]:1//"])
def test_a_url_of_one_server_is_taken(url: str) -> None:
    rabbitmq.check_url(url)


@pytest.mark.parametrize(
    "url",
    [
        "redis://:hush@h:6379/0", "pyamqp://u:hush@h", "amqp://u:hush@h1,h2/trees", "amqp://u:hush@h1;amqp://u:hush@h2",
        "amqp://", "amqp:///trees", "amqp://u:hush@h:port/", "amqp://u:hush@h:0/", "hush",
    ],
)  # fmt: skip
def test_another_url_is_refused_without_its_secret(url: str) -> None:
    with pytest.raises(ValueError, match="must name one server") as refused:
        rabbitmq.check_url(url)

    assert "hush" not in str(refused.value)


def test_a_server_that_does_not_answer_is_named(settings: Any) -> None:
    with silent_port() as port:
        settings.BROKER_URL = f"amqp://u:hush@127.0.0.1:{port}//"

        with pytest.raises(redis_status.BrokerSilent):
            rabbitmq.waiting(settings.BROKER_URL, redis_status.QUEUES)
        with pytest.raises(health.Unhealthy, match="RabbitMQ does not answer; the next sweep wakes workers"):
            health.check_broker()
