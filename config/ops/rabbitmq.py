"""
RabbitMQ as the broker in place of `REDIS_URL`: the URL, a check, and the length of the queues. Works without Django.

Only messages are in RabbitMQ. Counters, limits and heartbeats stay in the server of `REDIS_URL`.
"""

from collections.abc import Sequence
from contextlib import suppress
from typing import Final
from urllib.parse import urlsplit

from amqp.exceptions import AMQPError, NotFound
from kombu import Connection
from kombu.exceptions import KombuError

from config.ops.redis_status import BrokerSilent
from wallets.redis_servers import ANSWER_SECONDS

# A worker finds out that the machine of the broker is gone within twice this time.
HEARTBEAT_SECONDS: Final = 10
TRANSPORT_OPTIONS: Final = {"read_timeout": ANSWER_SECONDS, "write_timeout": ANSWER_SECONDS}


def check_url(url: str) -> None:
    """:raises ValueError: the URL names no RabbitMQ server; the message contains no part of it, which has a password"""
    try:
        parts = urlsplit(url)
        is_server = parts.scheme.lower() in {"amqp", "amqps"} and bool(parts.hostname) and parts.port != 0
    except ValueError:
        is_server = False
    if not is_server or ";" in url or "," in url.rpartition("@")[2]:
        raise ValueError("must name one server, such as amqp://user:password@host:5672/vhost or amqps://…")


def waiting(url: str, queues: Sequence[str]) -> int:
    """
    Return how many messages wait in the queues; a queue that does not exist yet has none.

    :raises BrokerSilent: the server does not answer, or refuses
    """
    found = 0
    try:
        with Connection(url, connect_timeout=ANSWER_SECONDS, transport_options=TRANSPORT_OPTIONS) as connection:
            for queue in queues:
                # An unknown queue closes the channel.
                with connection.channel() as channel, suppress(NotFound):
                    found += channel.queue_declare(queue, passive=True).message_count  # type: ignore[attr-defined]
    except (AMQPError, KombuError, OSError) as error:
        raise BrokerSilent(type(error).__name__) from error
    return found
