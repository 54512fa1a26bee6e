"""
The Redis-protocol server, asked without Django: its address in Celery's words, a ping, signs of life, the queue.

There are two signs of life. A worker's main process writes one every two seconds, however busy its children are. A
ring of beat that a worker answered is the other: it shows that beat, the broker and a worker are alive together,
and comes late while every child is at work.
"""

import contextlib
import time
from collections.abc import Callable, Mapping
from typing import Any, TypeVar
from urllib.parse import parse_qs, quote, urlsplit

import redis

from wallets import redis_servers
from wallets.redis_servers import ANSWER_SECONDS

HEARTBEAT_KEY = "coppice:heartbeat"
RING_KEY = "coppice:ring"
PROBE_KEY = "coppice:probe"
WORKERS_KEY = "coppice:workers"
# What beat rings for, and what wakes workers for locker tasks. Workers take from both in turn, so that however many
# tasks of wallets there are, the sweep comes in between.
QUEUE_KEY = "celery"
TASKS_QUEUE_KEY = "lockers"
UNACKNOWLEDGED_KEY = "unacked"
# A worker that has been silent for so long is forgotten: each start has a name of its own in a container.
FORGOTTEN_AFTER_SECONDS = 3600.0

_Said = TypeVar("_Said")


class BrokerSilent(Exception):
    """The server did not answer, or answered with an error. The sentence names no address."""


class BrokerRefuses(BrokerSilent):
    """The server answered that it does not do this; the sentence says why, as far as it is known."""


def broker_from_url(url: str) -> str:
    """Translate `REDIS_URL` into what Celery's transport understands; `transport_options` go with it."""
    address = redis_servers.read(url)
    if address.sentinels:
        credentials = "".join(
            f"{quote(name or '', safe='')}{sign}" for name, sign in ((address.username, ":"), (address.password, "@"))
        )
        credentials = credentials if address.username or address.password else ""
        hosts = (f"sentinel://{credentials}{_bracketed(host)}:{port}" for host, port in address.sentinels)
        return ";".join(f"{host}/{address.database}" for host in hosts)
    parts = urlsplit(address.url)
    query = parse_qs(parts.query)
    database = query.get("db", ["0"])[-1]
    if parts.scheme != "unix":
        # redis-py knows both ways to name a database, Celery's transport the path alone.
        return parts._replace(path=f"/{database}").geturl() if "db" in query else address.url
    credentials = f"{parts.netloc.rpartition('@')[0]}@" if "@" in parts.netloc else ""
    return f"redis+socket://{credentials}{parts.path}?virtual_host={database}"


def _bracketed(host: str) -> str:
    return f"[{host}]" if ":" in host else host


def transport_options(url: str) -> dict[str, Any]:
    """Return what Celery's transport must know besides `broker_from_url`."""
    address = redis_servers.read(url)
    if not address.sentinels:
        return {}
    for_sentinels = {
        "username": address.sentinel_username,
        "password": address.sentinel_password,
        "socket_connect_timeout": ANSWER_SECONDS,
        "socket_timeout": ANSWER_SECONDS,
    }
    return {
        "master_name": address.service,
        "sentinel_kwargs": {name: value for name, value in for_sentinels.items() if value is not None},
    }


class IsCluster(Exception):
    """`REDIS_URL` names a server of a cluster; the sentence says why that does not work."""


def refuse_cluster(url: str) -> None:
    """
    Look whether the server is one of a cluster. A server that does not answer, or does not say, is taken for none.

    :raises IsCluster: it is
    """
    with contextlib.suppress(BrokerSilent):
        if _ask(url, lambda client: client.info("cluster")).get("cluster_enabled"):
            raise IsCluster(
                "REDIS_URL names a server of a cluster, over which Celery cannot spread its queues. Name a server that"
                " is in no cluster, or sentinels: redis+sentinel://host1,host2/service/0"
            )


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
        return question(redis_servers.client(url))
    except redis.ResponseError as error:
        raise BrokerRefuses(why_refused(error)) from error
    except (redis.RedisError, OSError) as error:
        raise BrokerSilent(type(error).__name__) from error
