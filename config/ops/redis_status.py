"""
The Redis-protocol server: its URL for Celery, write check, heartbeats, queue length and counters. Works without Django.

Each function that asks the server raises BrokerSilent if it does not answer, and BrokerRefuses if it refuses.

Heartbeats: a worker's main process writes one every two seconds, however busy its children are. Beat records each
heartbeat task that it publishes, and the worker that processes the task records it too: this shows that beat, broker
and worker work together, and is late while all children are busy.
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
PUBLISHED_KEY = "coppice:ring"
PROBE_KEY = "coppice:probe"
WORKERS_KEY = "coppice:workers"
# Scheduled tasks, and locker tasks. Workers consume both queues in turn: many locker tasks do not delay the sweep.
QUEUE_KEY = "celery"
TASKS_QUEUE_KEY = "lockers"
QUEUES = QUEUE_KEY, TASKS_QUEUE_KEY
UNACKNOWLEDGED_KEY = "unacked"
# A worker without a heartbeat for this time is removed: in a container each start has another name.
FORGOTTEN_AFTER_SECONDS = 3600.0

_Result = TypeVar("_Result")


class BrokerSilent(Exception):
    """The server did not answer, or answered with an error. The message names no address."""


class BrokerRefuses(BrokerSilent):
    """The server refused the command. The message is the reason, as far as it is known."""


def broker_from_url(url: str) -> str:
    """Translate `REDIS_URL` into a broker URL of Celery, which also needs `transport_options`."""
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
        # redis-py reads the database from the path or the query, Celery's transport from the path alone.
        return parts._replace(path=f"/{database}").geturl() if "db" in query else address.url
    credentials = f"{parts.netloc.rpartition('@')[0]}@" if "@" in parts.netloc else ""
    return f"redis+socket://{credentials}{parts.path}?virtual_host={database}"


def _bracketed(host: str) -> str:
    return f"[{host}]" if ":" in host else host


def transport_options(url: str) -> dict[str, Any]:
    """Return Celery's transport options for `broker_from_url`."""
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
    """`REDIS_URL` names a server of a cluster."""


def refuse_cluster(url: str) -> None:
    """
    Refuse a server of a cluster. A server that does not answer is accepted.

    :raises IsCluster: the server is part of a cluster
    """
    with contextlib.suppress(BrokerSilent):
        if _ask(url, lambda client: client.info("cluster")).get("cluster_enabled"):
            raise IsCluster(
                "REDIS_URL names a server of a cluster, which Celery does not support. Name a server"
                " outside a cluster, or sentinels: redis+sentinel://host1,host2/service/0"
            )


def check_write(url: str) -> None:
    """
    Write a probe value.

    :raises BrokerRefuses: for example: out of memory, a read-only replica, a full disk
    """
    _ask(url, lambda client: client.set(PROBE_KEY, str(time.time()), ex=60))


def why_refused(error: redis.ResponseError) -> str:
    """Return why the server refused a command, without repeating its message."""
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
    """Record that a worker processed a heartbeat task."""
    _ask(url, lambda client: client.set(HEARTBEAT_KEY, str(time.time())))


def last_heartbeat(url: str) -> float:
    """Return when a worker last processed a heartbeat task, in seconds since the epoch; 0 for never."""
    return _ask(url, lambda client: float(client.get(HEARTBEAT_KEY) or 0))


def record_published(url: str) -> None:
    """Record that beat published a heartbeat task."""
    _ask(url, lambda client: client.set(PUBLISHED_KEY, str(time.time())))


def last_published(url: str) -> float:
    """Return when beat last published a heartbeat task, in seconds since the epoch; 0 for never."""
    return _ask(url, lambda client: float(client.get(PUBLISHED_KEY) or 0))


def record_worker(url: str, name: str) -> None:
    """Record a heartbeat of the worker with this name."""
    _ask(url, lambda client: client.hset(WORKERS_KEY, name, str(time.time())))


def workers(url: str) -> dict[str, float]:
    """Return the last heartbeat of each worker, in seconds since the epoch, and remove workers silent for an hour."""

    def ask(client: redis.Redis) -> dict[str, float]:
        seen = {name.decode(): float(at) for name, at in client.hgetall(WORKERS_KEY).items()}  # type: ignore[union-attr]
        gone = [name for name, at in seen.items() if time.time() - at > FORGOTTEN_AFTER_SECONDS]
        if gone:
            client.hdel(WORKERS_KEY, *gone)
        return {name: at for name, at in seen.items() if name not in gone}

    return _ask(url, ask)


def queue(url: str) -> tuple[int, int]:
    """Return the numbers of waiting and of unacknowledged messages."""
    return _ask(
        url,
        lambda client: (
            int(client.llen(QUEUE_KEY)) + int(client.llen(TASKS_QUEUE_KEY)),
            int(client.hlen(UNACKNOWLEDGED_KEY)),
        ),
    )


def add_up(url: str, key: str, amounts: Mapping[str, int]) -> None:
    """Add the amounts to the counters of this key, atomically; after BrokerSilent it is unknown whether they were."""

    def ask(client: redis.Redis) -> None:
        with client.pipeline(transaction=True) as pipeline:
            for field, amount in amounts.items():
                pipeline.hincrby(key, field, amount)
            pipeline.execute()

    _ask(url, ask)


def sums(url: str, key: str) -> dict[str, int]:
    """Return the counters of this key."""
    return _ask(url, lambda client: {name.decode(): int(value) for name, value in client.hgetall(key).items()})  # type: ignore[union-attr]


def _ask(url: str, question: Callable[[redis.Redis], _Result]) -> _Result:
    try:
        return question(redis_servers.client(url))
    except redis.ResponseError as error:
        raise BrokerRefuses(why_refused(error)) from error
    except (redis.RedisError, OSError) as error:
        raise BrokerSilent(type(error).__name__) from error
