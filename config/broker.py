"""
The Redis-protocol server, asked without Django: its address in Celery's words, a ping, signs of life, the queue.

There are two signs of life. A worker's main process writes one every two seconds, however busy its children are. A
ring of beat that a worker answered is the other: it shows that beat, the broker and a worker are alive together,
and comes late while every child is at work.
"""

import time
from collections.abc import Callable, Mapping
from typing import TypeVar
from urllib.parse import parse_qs, urlsplit

import redis

HEARTBEAT_KEY = "coppice:heartbeat"
RING_KEY = "coppice:ring"
PROBE_KEY = "coppice:probe"
WORKERS_KEY = "coppice:workers"
# What beat rings for, and what wakes workers for locker tasks. Workers take from both in turn, so that however many
# tasks of wallets there are, the sweep comes in between.
QUEUE_KEY = "celery"
TASKS_QUEUE_KEY = "lockers"
UNACKNOWLEDGED_KEY = "unacked"
ANSWER_SECONDS = 2.0
# A worker that has been silent for so long is forgotten: each start has a name of its own in a container.
FORGOTTEN_AFTER_SECONDS = 3600.0

_Said = TypeVar("_Said")


class BrokerSilent(Exception):
    """The server did not answer, or answered with an error. The sentence names no address."""


class BrokerRefuses(BrokerSilent):
    """The server answered that it does not do this; the sentence says why, as far as it is known."""


def broker_from_url(url: str) -> str:
    """Translate `unix:///path?db=0`, as redis-py and the cache write it, into what Celery's transport understands."""
    parts = urlsplit(url)
    if parts.scheme != "unix":
        return url
    query = parse_qs(parts.query)
    credentials = f"{parts.netloc.rpartition('@')[0]}@" if "@" in parts.netloc else ""
    return f"redis+socket://{credentials}{parts.path}?virtual_host={query.get('db', ['0'])[-1]}"


def check_write(url: str) -> None:
    """
    Write a value that is of no further use.

    :raises BrokerRefuses: the server is full, is a read-only replica, cannot write to its disk, …
    :raises BrokerSilent: no answer
    """
    _ask(url, lambda client: client.set(PROBE_KEY, str(time.time()), ex=60))


def why_refused(error: redis.ResponseError) -> str:
    """Return why the server refused a command, in words that repeat nothing of what it said."""
    said = str(error)
    if isinstance(error, redis.exceptions.OutOfMemoryError) or "OOM" in said or "maxmemory" in said:
        return "out of memory"
    if isinstance(error, redis.exceptions.ReadOnlyError) or "READONLY" in said or "read only replica" in said:
        return "read-only"
    if "MISCONF" in said:
        return "the disk cannot be written"
    if "NOREPLICAS" in said:
        return "too few replicas"
    return "an error"


def record_heartbeat(url: str) -> None:
    """
    Note that a ring of beat was answered.

    :raises BrokerSilent: no answer
    """
    _ask(url, lambda client: client.set(HEARTBEAT_KEY, str(time.time())))


def last_heartbeat(url: str) -> float:
    """
    Return when a ring of beat was last answered, in seconds since the epoch; 0 if none was.

    :raises BrokerSilent: no answer
    """
    return _ask(url, lambda client: float(client.get(HEARTBEAT_KEY) or 0))


def record_ring(url: str) -> None:
    """
    Note that beat rings.

    :raises BrokerSilent: no answer
    """
    _ask(url, lambda client: client.set(RING_KEY, str(time.time())))


def last_ring(url: str) -> float:
    """
    Return when beat last rang, in seconds since the epoch; 0 if it never did.

    :raises BrokerSilent: no answer
    """
    return _ask(url, lambda client: float(client.get(RING_KEY) or 0))


def record_worker(url: str, name: str) -> None:
    """
    Note that the worker of this name is alive.

    :raises BrokerSilent: no answer
    """
    _ask(url, lambda client: client.hset(WORKERS_KEY, name, str(time.time())))


def workers(url: str) -> dict[str, float]:
    """
    Return when each worker was last alive, in seconds since the epoch, and forget those of long ago.

    :raises BrokerSilent: no answer
    """

    def ask(client: redis.Redis) -> dict[str, float]:
        seen = {name.decode(): float(at) for name, at in client.hgetall(WORKERS_KEY).items()}  # type: ignore[union-attr]
        gone = [name for name, at in seen.items() if time.time() - at > FORGOTTEN_AFTER_SECONDS]
        if gone:
            client.hdel(WORKERS_KEY, *gone)
        return {name: at for name, at in seen.items() if name not in gone}

    return _ask(url, ask)


def queue(url: str) -> tuple[int, int]:
    """
    Return how many messages wait, and how many a worker has taken and not finished.

    :raises BrokerSilent: no answer
    """
    return _ask(
        url,
        lambda client: (
            int(client.llen(QUEUE_KEY)) + int(client.llen(TASKS_QUEUE_KEY)),
            int(client.hlen(UNACKNOWLEDGED_KEY)),
        ),
    )


def add_up(url: str, key: str, amounts: Mapping[str, int]) -> None:
    """
    Add the amounts to the counters of this key, all or none.

    :raises BrokerSilent: no answer; whether they were added is unknown
    """

    def ask(client: redis.Redis) -> None:
        with client.pipeline(transaction=True) as pipeline:
            for field, amount in amounts.items():
                pipeline.hincrby(key, field, amount)
            pipeline.execute()

    _ask(url, ask)


def sums(url: str, key: str) -> dict[str, int]:
    """
    Return the counters of this key.

    :raises BrokerSilent: no answer
    """
    return _ask(url, lambda client: {name.decode(): int(value) for name, value in client.hgetall(key).items()})  # type: ignore[union-attr]


def _ask(url: str, question: Callable[[redis.Redis], _Said]) -> _Said:
    try:
        with redis.Redis.from_url(url, socket_connect_timeout=ANSWER_SECONDS, socket_timeout=ANSWER_SECONDS) as client:
            return question(client)
    except redis.ResponseError as error:
        raise BrokerRefuses(why_refused(error)) from error
    except (redis.RedisError, OSError) as error:
        raise BrokerSilent(type(error).__name__) from error
