"""
`/metrics` in the Prometheus text format.

Each scrape queries the database and the broker, so that the metrics agree with the ledger and any process can answer.
Metrics that scan a large table are cached for 60 s in each process. `config.ops.request_metrics` counts the requests.
"""

import hmac
import time
from collections.abc import Callable, Iterable, Iterator
from datetime import UTC, datetime
from typing import Any, Final

from django.conf import settings
from django.core.cache import cache
from django.db import DatabaseError, connection
from django.http import HttpRequest, HttpResponse
from django.views.decorators.cache import never_cache
from django.views.decorators.http import require_safe
from prometheus_client import CollectorRegistry
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, HistogramMetricFamily, Metric
from prometheus_client.exposition import CONTENT_TYPE_PLAIN_0_0_4, generate_latest

from config.ops import partitions, rabbitmq, redis_status, request_log, request_metrics
from config.postgresql import replica
from config.seals import verifying
from config.web.addresses import client_address
from lockers import reports
from lockers.models import LockerTask
from transfers import outcome_counts
from wallets import reports as wallets
from wallets.states import AuditResult
from webhooks import reports as webhooks

CACHED_SECONDS: Final = 60
_LOOPBACK: Final = frozenset({"127.0.0.1", "::1"})
# Headers that Prometheus, curl and browsers send. A proxy on this machine has a loopback address too; it is recognised
# by any further header.
_SENT_DIRECTLY: Final = frozenset(
    {
        "accept", "accept-charset", "accept-encoding", "accept-language", "authorization", "cache-control",
        "connection",
        "content-length", "content-type", "cookie", "dnt", "host", "if-modified-since", "if-none-match", "keep-alive",
        "pragma", "priority", "range", "referer", "te", "upgrade-insecure-requests", "user-agent",
        "x-prometheus-scrape-timeout-seconds", "x-request-id",
    }
)  # fmt: skip


@never_cache
@require_safe
def metrics(request: HttpRequest) -> HttpResponse:
    """Require COPPICE_METRICS_TOKEN. Without it, answer clients on this machine that came through no proxy."""
    if settings.METRICS_TOKEN:
        shown = request.headers.get("Authorization", "").encode("utf-8", "surrogatepass")
        if not hmac.compare_digest(shown, f"Bearer {settings.METRICS_TOKEN}".encode()):
            return _refused(401, "A bearer token is required: COPPICE_METRICS_TOKEN.", {"WWW-Authenticate": "Bearer"})
    elif not _is_asked_directly(request):
        return _refused(
            403, "Only clients on this machine may read metrics. Set COPPICE_METRICS_TOKEN to allow others."
        )
    return HttpResponse(exposition(), content_type=CONTENT_TYPE_PLAIN_0_0_4)


def _is_asked_directly(request: HttpRequest) -> bool:
    names = (name.lower() for name in request.headers)
    return client_address(request) in _LOOPBACK and all(
        name in _SENT_DIRECTLY or name.startswith("sec-") for name in names
    )


def _refused(status: int, sentence: str, headers: dict[str, str] | None = None) -> HttpResponse:
    return HttpResponse(f"{sentence}\n", status=status, content_type="text/plain", headers=headers)


def exposition() -> bytes:
    """Return all metrics. A part that does not answer is omitted, and its `coppice_scrape_ok` is 0."""
    registry = CollectorRegistry()
    registry.register(_Collector())
    return bytes(generate_latest(registry))


class _Collector:
    def collect(self) -> Iterator[Metric]:
        ok = GaugeMetricFamily("coppice_scrape_ok", "1 if the part answered.", labels=["part"])
        took = GaugeMetricFamily("coppice_scrape_seconds", "Duration of its query.", labels=["part"])
        for part, source in _SOURCES.items():
            began = time.monotonic()
            try:
                families = list(source())
            except (DatabaseError, redis_status.BrokerSilent, OSError):
                ok.add_metric([part], 0)
                continue
            ok.add_metric([part], 1)
            yield from families
            took.add_metric([part], time.monotonic() - began)
        yield ok
        yield took


def _requests() -> Iterator[Metric]:
    count = CounterMetricFamily("coppice_http_requests", "Requests answered.", labels=["method", "route", "status"])
    seconds = HistogramMetricFamily(
        "coppice_http_request_duration_seconds", "Time to answer.", labels=["method", "route"]
    )
    for kind in request_metrics.traffic():
        for status, number in kind.by_status.items():
            count.add_metric([kind.method, kind.route, status], number)
        reached, total = [], 0
        for end, number in zip((*map(str, request_metrics.BUCKETS), "+Inf"), kind.buckets, strict=True):
            total += number
            reached.append((end, total))
        seconds.add_metric([kind.method, kind.route], reached, sum_value=kind.seconds)
    yield count
    yield seconds
    yield CounterMetricFamily(
        "coppice_requests_not_recorded",
        "Requests that are missing in the request log.",
        value=sum(request_log.lost().values()),
    )


def _partitions() -> Iterator[Metric]:
    oldest = GaugeMetricFamily(
        "coppice_partition_oldest_timestamp_seconds", "First day of the oldest partition.", labels=["table"]
    )
    tables = (*partitions.WITH_DEFAULT, request_log.PARTITIONS)
    for table in tables:
        for day in partitions.days(table)[:1]:
            oldest.add_metric([table.name], datetime(day.year, day.month, day.day, tzinfo=UTC).timestamp())
    yield oldest
    used = GaugeMetricFamily(
        "coppice_partition_default_used", "1 if rows are in the default partition.", labels=["table"]
    )
    for table in partitions.WITH_DEFAULT:
        used.add_metric([table.name], int(partitions.is_default_used(table)))
    yield used
    dropped = CounterMetricFamily(
        "coppice_partition_rows_dropped", "Rows that were dropped with their partitions.", labels=["table"]
    )
    numbers = partitions.dropped()
    for table in tables:
        dropped.add_metric([table.name], numbers.get(table.name, 0))
    yield dropped


def _broker() -> Iterator[Metric]:
    if settings.BROKER_URL:
        # RabbitMQ tells clients nothing of unacknowledged messages; its own exporter has them.
        waiting = rabbitmq.waiting(settings.BROKER_URL, redis_status.QUEUES)
    else:
        waiting, taken = redis_status.queue(settings.REDIS_URL)
        yield GaugeMetricFamily("coppice_queue_unacknowledged", "Unacknowledged messages.", value=taken)
    yield GaugeMetricFamily("coppice_queue_messages", "Messages that wait for a worker.", value=waiting)
    now = time.time()
    seen = redis_status.workers(settings.REDIS_URL).values()
    alive = sum(now - at <= 10 for at in seen)
    yield GaugeMetricFamily("coppice_workers", "Workers with a heartbeat in the last 10 seconds.", value=alive)
    if answered := redis_status.last_heartbeat(settings.REDIS_URL):
        yield GaugeMetricFamily(
            "coppice_beat_answered_seconds",
            "Time since a worker processed a beat heartbeat.",
            value=max(0.0, now - answered),
        )


def _ledger() -> Iterator[Metric]:
    ended = CounterMetricFamily("coppice_transfers", "Final transfers, by outcome.", labels=["outcome"])
    for outcome, number in outcome_counts.totals().items():
        ended.add_metric([outcome], number)
    yield ended
    still = GaugeMetricFamily("coppice_transfers_open", "Open transfers.", labels=["state"])
    oldest = GaugeMetricFamily("coppice_transfers_oldest_seconds", "Age of the oldest open transfer.", labels=["state"])
    rows = dict.fromkeys(("requested", "pending"), (0, 0.0)) | {row[0]: row[1:] for row in _rows(_OPEN_TRANSFERS)}
    for state, (number, age) in rows.items():
        still.add_metric([state], number)
        oldest.add_metric([state], age)
    yield still
    yield oldest
    ((tokens, wallets, links),) = _cached("holdings", _HOLDINGS)
    yield GaugeMetricFamily("coppice_tokens", "Tokens in all wallets; at most a minute old.", value=tokens)
    yield GaugeMetricFamily("coppice_wallets", "Wallets; at most a minute old.", value=wallets)
    yield GaugeMetricFamily("coppice_claim_links_active", "Active claim links; at most a minute old.", value=links)


def _lockers() -> Iterator[Metric]:
    tasks = GaugeMetricFamily(
        "coppice_locker_tasks", "Tasks by kind and state; at most a minute old.", labels=["kind", "state"]
    )
    for kind, state, number in _cached("tasks", "SELECT kind, state, count(*) FROM lockers_lockertask GROUP BY 1, 2"):
        tasks.add_metric([kind, state], number)
    yield tasks
    running = GaugeMetricFamily("coppice_locker_tasks_running", "Running tasks, by kind.", labels=["kind"])
    oldest = GaugeMetricFamily(
        "coppice_locker_tasks_oldest_seconds", "Age of the oldest running task.", labels=["kind"]
    )
    unheld = GaugeMetricFamily("coppice_locker_tasks_unheld", "Running tasks that no worker holds.", labels=["kind"])
    for kind, number, age, nobodys in _rows(_RUNNING_TASKS):
        running.add_metric([kind], number)
        oldest.add_metric([kind], age)
        unheld.add_metric([kind], nobodys)
    yield from (running, oldest, unheld)
    yield GaugeMetricFamily(
        "coppice_locker_tasks_in_need",
        "Tasks that need an operator: coins unknown or past the deadline, and not marked as seen.",
        value=reports.tasks_in_need(LockerTask.objects.all()).count(),
    )
    coins = GaugeMetricFamily("coppice_coins", "Coins by state; at most a minute old.", labels=["state"])
    for state, number in _cached("coins", "SELECT state, count(*) FROM lockers_coin GROUP BY 1"):
        coins.add_metric([state], number)
    yield coins


def _servers() -> Iterator[Metric]:
    up = GaugeMetricFamily("coppice_raida_up", "Whether the server answered the last echo.", labels=["raida"])
    latency = GaugeMetricFamily(
        "coppice_raida_latency_seconds", "Latency of its last answer to an echo.", labels=["raida"]
    )
    heard = GaugeMetricFamily("coppice_raida_answered_seconds", "Time since its last answer.", labels=["raida"])
    resting = GaugeMetricFamily("coppice_raida_resting", "1 if workers skip the server.", labels=["raida"])
    for raida, answered, milliseconds, age, spared in _rows(_READINGS):
        up.add_metric([str(raida)], answered)
        resting.add_metric([str(raida)], spared)
        if milliseconds is not None:
            latency.add_metric([str(raida)], milliseconds / 1000)
            heard.add_metric([str(raida)], age)
    yield from (up, latency, heard, resting)


def _webhooks() -> Iterator[Metric]:
    ((waiting, overdue, age, failing),) = _rows(_WEBHOOKS)
    yield GaugeMetricFamily("coppice_webhook_deliveries_pending", "Deliveries that wait, retries too.", value=waiting)
    yield GaugeMetricFamily(
        "coppice_webhook_deliveries_due", "Deliveries that are due and no worker sends.", value=overdue
    )
    yield GaugeMetricFamily(
        "coppice_webhook_deliveries_oldest_seconds", "How long the oldest of these has been due.", value=age
    )
    yield GaugeMetricFamily("coppice_webhooks_failing", "Enabled webhooks whose last delivery failed.", value=failing)
    yield GaugeMetricFamily(
        "coppice_webhooks_given_up",
        "Webhooks that were disabled without a request in the last seven days.",
        value=webhooks.trouble().given_up,
    )


def _audits() -> Iterator[Metric]:
    result = GaugeMetricFamily("coppice_audit_result", "1 for how the last audit ended.", labels=["result"])
    decides = wallets.deciding_audit()
    for state in (AuditResult.SOUND, AuditResult.UNSOUND, AuditResult.FAILED):
        result.add_metric([state.value], int(decides is not None and decides.result == state))
    yield result
    if decides is None:
        return
    yield GaugeMetricFamily("coppice_audit_findings", "Findings of the last audit.", value=decides.findings_count)
    for age, duration in _rows(_LAST_AUDITS.format("")):
        yield GaugeMetricFamily("coppice_audit_age_seconds", "Time since the last audit ended.", value=age)
        yield GaugeMetricFamily("coppice_audit_duration_seconds", "Duration of the last audit.", value=duration)
    for age, _ in _rows(_LAST_AUDITS.format("AND is_of_all")):
        yield GaugeMetricFamily(
            "coppice_full_audit_age_seconds", "Time since the last audit of all history ended.", value=age
        )


def _seals() -> Iterator[Metric]:
    ((height, age),) = _rows(_SEALED)
    yield GaugeMetricFamily("coppice_seal_height", "Seals of history.", value=height)
    yield GaugeMetricFamily(
        "coppice_seal_blocks_not_compared",
        "Sealed blocks whose movements are not in this database; at most a minute old.",
        value=cache.get_or_set("metrics:not_compared", verifying.not_compared, CACHED_SECONDS),
    )
    if age is not None:
        yield GaugeMetricFamily(
            "coppice_seal_age_seconds", "Time since all that was settled was last sealed.", value=age
        )


def _replica() -> Iterator[Metric]:
    if not replica.is_configured():
        return
    try:
        lag: float | None = replica.state().lag_seconds
    except replica.TooFarBehind as error:
        lag, is_read = error.lag_seconds, 0
    except replica.Unusable:
        lag, is_read = None, 0
    else:
        is_read = 1
    yield GaugeMetricFamily("coppice_replica_up", "1 if the replica answers and is not too far behind.", value=is_read)
    if lag is not None:
        yield GaugeMetricFamily("coppice_replica_lag_seconds", "How far the replica is behind.", value=lag)
    reads = CounterMetricFamily(
        "coppice_replica_reads", "Reads that a replica may answer, by who answered.", labels=["served_by"]
    )
    for served_by, number in request_metrics.reads().items():
        reads.add_metric([served_by], number)
    yield reads


def _alerts() -> Iterator[Metric]:
    still = GaugeMetricFamily("coppice_alerts_open", "Open alerts of the admin.", labels=["acknowledged"])
    ((new, seen, unsent, age),) = _rows(_ALERTS)
    still.add_metric(["no"], new)
    still.add_metric(["yes"], seen)
    yield still
    yield GaugeMetricFamily(
        "coppice_alert_notices_unsent", "Notifications of alerts whose last attempt failed.", value=unsent
    )
    if age is not None:
        yield GaugeMetricFamily("coppice_backup_age_seconds", "Age of the data of the last backup.", value=age)


_SOURCES: Final[dict[str, Callable[[], Iterable[Metric]]]] = {
    "requests": _requests,
    "partitions": _partitions,
    "broker": _broker,
    "ledger": _ledger,
    "lockers": _lockers,
    "servers": _servers,
    "webhooks": _webhooks,
    "audits": _audits,
    "seals": _seals,
    "alerts": _alerts,
    "replica": _replica,
}

# Repeats the predicate of the partial index on open transfers, so that the planner can use it.
_OPEN_TRANSFERS: Final = """
SELECT state, count(*), extract(epoch FROM now() - min(created_at))::float FROM transfers_transfer
 WHERE state <> 'completed' AND state IN ('requested', 'pending') GROUP BY state
"""
_HOLDINGS: Final = """
SELECT (SELECT coalesce(sum(tokens), 0)::bigint FROM transfers_tokentally)
       + (SELECT coalesce(sum(tokens), 0)::bigint FROM transfers_tallydelta),
       (SELECT count(*) FROM wallets_wallet),
       (SELECT count(*) FROM transfers_actiontoken WHERE state = 'active')
"""
_RUNNING_TASKS: Final = """
SELECT kind, count(*), extract(epoch FROM now() - min(created_at))::float,
       count(*) FILTER (WHERE NOT is_parked AND (lease_until IS NULL OR lease_until < now()))
  FROM lockers_lockertask WHERE state = 'running' GROUP BY kind
"""
_READINGS: Final = """
SELECT reading.raida, (reading.outcome = 'answered')::int, reading.latency_ms,
       extract(epoch FROM now() - reading.answered_at)::float, coalesce(health.rest_until > now(), false)::int
  FROM lockers_serverreading AS reading LEFT JOIN lockers_serverhealth AS health ON health.raida = reading.raida
 ORDER BY reading.raida
"""
_WEBHOOKS: Final = """
SELECT count(*), count(*) FILTER (WHERE due_at <= now() AND (lease_until IS NULL OR lease_until < now())),
       coalesce(extract(epoch FROM now() - min(due_at) FILTER (
           WHERE due_at <= now() AND (lease_until IS NULL OR lease_until < now()))), 0)::float,
       (SELECT count(*) FROM webhooks_webhook WHERE state = 'enabled' AND failing_since IS NOT NULL)
  FROM webhooks_webhookdelivery WHERE state = 'pending'
"""
_ALERTS: Final = """
SELECT count(*) FILTER (WHERE acknowledged_at IS NULL), count(*) FILTER (WHERE acknowledged_at IS NOT NULL),
       (SELECT count(*) FROM desk_alertnotice WHERE state = 'pending' AND attempt > 0 AND error <> ''),
       (SELECT extract(epoch FROM now() - max(made_at))::float FROM desk_backup)
  FROM desk_alert WHERE closed_at IS NULL
"""
_SEALED: Final = """
SELECT (SELECT coalesce(max(height), 0) FROM transfers_seal),
       (SELECT extract(epoch FROM now() - complete_at)::float FROM transfers_sealmark)
"""
_LAST_AUDITS: Final = """
SELECT extract(epoch FROM now() - finished_at)::float, extract(epoch FROM finished_at - started_at)::float
  FROM wallets_auditrun WHERE result <> 'running' {} ORDER BY id DESC LIMIT 1
"""


def _rows(statement: str) -> list[tuple[Any, ...]]:
    with connection.cursor() as cursor:
        cursor.execute(statement)
        return list(cursor.fetchall())


def _cached(name: str, statement: str) -> list[tuple[Any, ...]]:
    """Return the rows of a statement, cached by this process for 60 s."""
    return cache.get_or_set(f"metrics:{name}", lambda: _rows(statement), CACHED_SECONDS) or []
