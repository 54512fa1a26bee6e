"""
The Redis-protocol server, asked without Django: its address in Celery's words, a ping, and the heartbeat.

The heartbeat is a time that a worker writes when beat rings. It therefore shows that all three
are alive, which none of them can say of the others.
"""

import time
from urllib.parse import parse_qs, urlsplit

import redis

HEARTBEAT_KEY = "coppice:heartbeat"
ANSWER_SECONDS = 2.0


class BrokerSilent(Exception):
    """The server did not answer, or answered with an error. The sentence names no address."""


def broker_from_url(url: str) -> str:
    """Translate `unix:///path?db=0`, as redis-py and the cache write it, into what Celery's transport understands."""
    parts = urlsplit(url)
    if parts.scheme != "unix":
        return url
    query = parse_qs(parts.query)
    credentials = f"{parts.netloc.rpartition('@')[0]}@" if "@" in parts.netloc else ""
    return f"redis+socket://{credentials}{parts.path}?virtual_host={query.get('db', ['0'])[-1]}"


def ping(url: str) -> None:
    """:raises BrokerSilent: no answer"""
    try:
        with _connected(url) as client:
            client.ping()
    except (redis.RedisError, OSError) as error:
        raise BrokerSilent(type(error).__name__) from error


def record_heartbeat(url: str) -> None:
    """:raises BrokerSilent: no answer"""
    try:
        with _connected(url) as client:
            client.set(HEARTBEAT_KEY, str(time.time()))
    except (redis.RedisError, OSError) as error:
        raise BrokerSilent(type(error).__name__) from error


def last_heartbeat(url: str) -> float:
    """
    Return when the last heartbeat was, in seconds since the epoch; 0 if there was none.

    :raises BrokerSilent: no answer
    """
    try:
        with _connected(url) as client:
            return float(client.get(HEARTBEAT_KEY) or 0)
    except (redis.RedisError, OSError) as error:
        raise BrokerSilent(type(error).__name__) from error


def _connected(url: str) -> redis.Redis:
    return redis.Redis.from_url(url, socket_connect_timeout=ANSWER_SECONDS, socket_timeout=ANSWER_SECONDS)
