"""What `/metrics` reports equals the stored rows in every process, and is refused without the token."""

import time
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import uuid4

import pytest
from django.test import Client
from django.urls import get_resolver
from django.utils import timezone
from prometheus_client.parser import text_string_to_metric_families

from config.ops import audits, metrics, partitions, redis_status, request_log, request_metrics
from lockers.models import LockerTask, ServerHealth, ServerReading
from lockers.states import TaskKind
from tests.api.caller import Caller
from tests.support.hidden_tables import hidden, insert
from tests.transfers.conftest import alice, api_key, bob, sapling
from transfers import action_tokens, operations
from wallets.models import Wallet

__all__ = ["alice", "api_key", "bob", "sapling"]


@pytest.fixture(autouse=True)
def nothing_counted(settings: Any) -> None:
    """Figures of other tests are forgotten, here and in the shared place."""
    request_metrics.flush()
    with redis_status.redis.Redis.from_url(settings.REDIS_URL) as client:
        client.delete(
            request_metrics.KEY, redis_status.WORKERS_KEY, redis_status.QUEUE_KEY, redis_status.TASKS_QUEUE_KEY
        )
    metrics.cache.clear()


def figures(text: str) -> dict[tuple[str, ...], float]:
    """Each sample by its name and the values of its labels, in the order of their names."""
    return {
        (sample.name, *sample.labels.values()): sample.value
        for family in text_string_to_metric_families(text)
        for sample in family.samples
    }


def scraped() -> dict[tuple[str, ...], float]:
    return figures(metrics.exposition().decode())


@pytest.mark.django_db
def test_requests_are_counted_by_route_whatever_process_saw_them(client: Client, settings: Any) -> None:
    client.get("/livez")
    client.get("/livez/")
    client.get("/wallet/transfers/1/accept")
    client.get("/transfers/2/accept")
    client.get("/nothing/here")
    client.generic("BREW", "/livez")
    # Another process.
    redis_status.add_up(
        settings.REDIS_URL, request_metrics.KEY, {"GET /livez 200": 5, "GET /livez b12": 5, "GET /livez us": 70_000_000}
    )

    found = scraped()

    assert {key: value for key, value in found.items() if key[0] == "coppice_http_requests_total"} == {
        ("coppice_http_requests_total", "GET", "/livez", "200"): 7,
        ("coppice_http_requests_total", "GET", "/transfers/{transfer_id}/accept", "405"): 2,
        ("coppice_http_requests_total", "GET", "other", "404"): 1,
        ("coppice_http_requests_total", "OTHER", "/livez", "405"): 1,
    }
    livez = ("coppice_http_request_duration_seconds", "GET", "/livez")
    buckets = [found[f"{livez[0]}_bucket", end, *livez[1:]] for end in (*map(str, request_metrics.BUCKETS), "+Inf")]
    assert buckets == sorted(buckets)
    assert buckets[-2:] == [2, 7]
    assert found[f"{livez[0]}_count", *livez[1:]] == 7
    assert 70 < found[f"{livez[0]}_sum", *livez[1:]] < 75


def test_what_cannot_be_handed_over_is_kept(client: Client, settings: Any, silent_broker: str) -> None:
    shared = settings.REDIS_URL
    settings.REDIS_URL = silent_broker
    client.get("/livez")
    request_metrics.flush()
    client.get("/livez")
    settings.REDIS_URL = shared

    (livez,) = request_metrics.traffic()

    assert livez.by_status == {"200": 2}


def test_every_route_has_a_readable_name() -> None:
    def walk(resolver: Any, before: str = "") -> Iterator[Any]:
        for pattern in resolver.url_patterns:
            path = before + str(pattern.pattern)
            if hasattr(pattern, "url_patterns"):
                yield from walk(pattern, path)
            else:
                yield path

    names = {request_metrics.readable(route) for route in walk(get_resolver())}

    assert {"/wallets/{wallet_id}", "/api/v1/locker/{code}", "/readyz", "/transfers"} <= names
    ours = {name for name in names if not name.startswith("/admin")}
    assert [name for name in ours if set(name) & set("?^$()[]<>\\+* ")] == []


@pytest.mark.django_db(transaction=True)
def test_the_figures_equal_the_books(alice: Caller, bob: Caller, sapling: Wallet) -> None:
    operations.send_bundle(actor=alice.wallet, sender="alice", receiver="sapling", size=1)
    pending = operations.send_bundle(actor=alice.wallet, sender="alice", receiver="bobby", size=1)
    operations.send_bundle(actor=alice.wallet, sender="alice", receiver="bobby", size=1)
    operations.decline(actor=bob.wallet, transfer_id=pending.id)
    action_tokens.offer_bundles(actor=alice.wallet, sender=None, size=1)
    LockerTask.objects.create(
        kind=TaskKind.ECHO, wallet=sapling, actor=sapling, receipt_id="0" * 32, deadline="2999-01-01 00:00Z"
    )
    ServerReading.objects.create(raida=3, outcome="timeout")
    ServerReading.objects.create(raida=4, outcome="answered", latency_ms=250, answered_at="2026-01-01 00:00Z")
    ServerHealth.objects.create(raida=3, silences=5, rest_until="2100-01-01 00:00Z")
    audits.run()

    found = scraped()

    assert {key: found[key] for key in [
        ("coppice_transfers_total", "completed"),
        ("coppice_transfers_total", "cancelled"),
        ("coppice_transfers_total", "failed"),
        ("coppice_transfers_open", "pending"),
        ("coppice_transfers_open", "requested"),
        ("coppice_tokens",),
        ("coppice_claim_links_active",),
        ("coppice_locker_tasks", "echo", "running"),
        ("coppice_locker_tasks_running", "echo"),
        ("coppice_locker_tasks_unheld", "echo"),
        ("coppice_raida_up", "3"),
        ("coppice_raida_up", "4"),
        ("coppice_raida_resting", "3"),
        ("coppice_raida_latency_seconds", "4"),
        ("coppice_audit_result", "sound"),
        ("coppice_audit_result", "unsound"),
        ("coppice_audit_findings",),
    ]} == {
        ("coppice_transfers_total", "completed"): 1,
        ("coppice_transfers_total", "cancelled"): 1,
        ("coppice_transfers_total", "failed"): 0,
        ("coppice_transfers_open", "pending"): 1,
        ("coppice_transfers_open", "requested"): 0,
        ("coppice_tokens",): 8,
        ("coppice_claim_links_active",): 1,
        ("coppice_locker_tasks", "echo", "running"): 1,
        ("coppice_locker_tasks_running", "echo"): 1,
        ("coppice_locker_tasks_unheld", "echo"): 1,
        ("coppice_raida_up", "3"): 0,
        ("coppice_raida_up", "4"): 1,
        ("coppice_raida_resting", "3"): 1,
        ("coppice_raida_latency_seconds", "4"): 0.25,
        ("coppice_audit_result", "sound"): 1,
        ("coppice_audit_result", "unsound"): 0,
        ("coppice_audit_findings",): 0,
    }  # fmt: skip
    assert ("coppice_raida_latency_seconds", "3") not in found
    assert found["coppice_transfers_oldest_seconds", "pending"] > 0


def _ago(hours: float) -> datetime:
    return timezone.now() - timedelta(hours=hours)


def _rows() -> dict[str, list[dict[str, Any]]]:
    """Rows on both sides of each condition of a metric, by table. Times are whole hours from now."""
    task = {"kind": "put", "state": "running", "created_at": _ago(1), "deadline": _ago(-9), "is_parked": False}
    delivery = {"state": "pending", "due_at": _ago(4)}
    notice = {"state": "pending", "attempt": 1, "error": "timeout"}
    return {
        "transfers_transfer": [
            {"state": state, "created_at": _ago(hours)}
            for state, hours in (("pending", 5), ("pending", 2), ("requested", 3), ("completed", 9), ("cancelled", 9))
        ],
        "transfers_tokentally": [{"tokens": 5}, {"tokens": 7}],
        "transfers_tallydelta": [{"tokens": 3}, {"tokens": -1}],
        "wallets_wallet": [{"id": uuid4()} for _ in range(3)],
        "transfers_actiontoken": [
            {"state": state} for state in ("active", "active", "redeemed", "cancelled", "expired")
        ],
        "lockers_lockertask": [
            task | {"id": uuid4()} | more
            for more in (
                {"created_at": _ago(4)}, {"lease_until": _ago(-1)}, {"lease_until": _ago(1), "deadline": _ago(2)},
                {"is_parked": True}, {"is_parked": True, "lease_until": _ago(1)},
                {"kind": "take", "lease_until": _ago(-1), "deadline": _ago(2), "seen_at": _ago(1)},
                {"state": "completed", "created_at": _ago(9), "deadline": _ago(2)},
            )
        ],
        "lockers_receiptline": [],
        "lockers_coin": [{"state": state} for state in ("bank", "bank", "limbo")],
        "lockers_serverreading": [
            {"raida": 1, "outcome": "answered", "latency_ms": 250, "answered_at": _ago(2)},
            {"raida": 2, "outcome": "timeout", "latency_ms": 500, "answered_at": _ago(3)},
            {"raida": 3, "outcome": "answered", "latency_ms": 750, "answered_at": _ago(4)},
            {"raida": 4, "outcome": "timeout"},
        ],
        "lockers_serverhealth": [{"raida": 2, "rest_until": _ago(-1)}, {"raida": 3, "rest_until": _ago(1)}],
        "webhooks_webhookdelivery": [
            delivery | more
            for more in (
                {}, {"due_at": _ago(2), "lease_until": _ago(1)}, {"due_at": _ago(9), "lease_until": _ago(-1)},
                {"due_at": _ago(-1)}, {"due_at": _ago(12), "state": "delivered"},
            )
        ],
        "webhooks_webhook": [
            {"state": "enabled", "failing_since": _ago(1)}, {"state": "enabled"},
            {"state": "disabled", "failing_since": _ago(1)},
        ],
        "desk_alert": [
            {}, {}, {"acknowledged_at": _ago(1)}, {"closed_at": _ago(1)},
            {"closed_at": _ago(1), "acknowledged_at": _ago(2)},
        ],
        "desk_alertnotice": [notice | more for more in ({}, {"attempt": 0}, {"error": ""}, {"state": "sent"})],
        "desk_backup": [{"made_at": _ago(5)}, {"made_at": _ago(9)}],
        "wallets_auditrun": [
            {"id": 1, "is_of_all": True, "result": "sound", "started_at": _ago(12), "finished_at": _ago(11)},
            {"id": 2, "is_of_all": True, "result": "sound", "started_at": _ago(10), "finished_at": _ago(9)},
            {"id": 3, "is_of_all": False, "result": "failed", "started_at": _ago(5), "finished_at": _ago(3),
             "findings_count": 2},
            {"id": 4, "is_of_all": True, "result": "running", "started_at": _ago(1)},
        ],
        "transfers_seal": [{"height": height} for height in (7, 1, 2)],
        "transfers_sealmark": [{"complete_at": _ago(6)}],
    }  # fmt: skip


# By metric without its prefix and the values of its labels; of durations the hours.
_OF_ROWS = {
    ("transfers_open", "pending"): 2, ("transfers_open", "requested"): 1, ("transfers_oldest_seconds", "pending"): 5,
    ("transfers_oldest_seconds", "requested"): 3, ("tokens",): 14, ("wallets",): 3, ("claim_links_active",): 2,
    ("locker_tasks", "put", "running"): 5, ("locker_tasks", "take", "running"): 1,
    ("locker_tasks", "put", "completed"): 1, ("locker_tasks_running", "put"): 5, ("locker_tasks_running", "take"): 1,
    ("locker_tasks_oldest_seconds", "put"): 4, ("locker_tasks_oldest_seconds", "take"): 1,
    ("locker_tasks_unheld", "put"): 2, ("locker_tasks_unheld", "take"): 0, ("locker_tasks_in_need",): 1,
    ("coins", "bank"): 2, ("coins", "limbo"): 1,
    ("raida_up", "1"): 1, ("raida_up", "2"): 0, ("raida_up", "3"): 1, ("raida_up", "4"): 0,
    ("raida_latency_seconds", "1"): 0.25, ("raida_latency_seconds", "2"): 0.5, ("raida_latency_seconds", "3"): 0.75,
    ("raida_answered_seconds", "1"): 2, ("raida_answered_seconds", "2"): 3, ("raida_answered_seconds", "3"): 4,
    ("raida_resting", "1"): 0, ("raida_resting", "2"): 1, ("raida_resting", "3"): 0, ("raida_resting", "4"): 0,
    ("webhook_deliveries_pending",): 4, ("webhook_deliveries_due",): 2, ("webhook_deliveries_oldest_seconds",): 4,
    ("webhooks_failing",): 1, ("webhooks_given_up",): 0,
    ("alerts_open", "no"): 2, ("alerts_open", "yes"): 1, ("alert_notices_unsent",): 1, ("backup_age_seconds",): 5,
    ("audit_result", "sound"): 0, ("audit_result", "unsound"): 0, ("audit_result", "failed"): 1,
    ("audit_findings",): 2, ("audit_age_seconds",): 3, ("audit_duration_seconds",): 2, ("full_audit_age_seconds",): 9,
    ("seal_height",): 7, ("seal_blocks_not_compared",): 0, ("seal_age_seconds",): 6,
}  # fmt: skip


@pytest.mark.django_db
def test_each_metric_counts_the_rows_that_it_is_about_and_no_other() -> None:
    with hidden(_rows()):
        for table, rows in _rows().items():
            for row in rows:
                insert(table, row or {"closed_at": None})
        found = scraped()

    of_rows = {}
    for (name, *labels), value in found.items():
        if not name.startswith(("coppice_http", "coppice_scrape", "coppice_partition", "coppice_transfers_total")):
            hours = name.endswith(("_age_seconds", "_oldest_seconds", "_answered_seconds", "_duration_seconds"))
            of_rows[name.removeprefix("coppice_"), *labels] = round(value / 3600) if hours else value
    left_out = {
        "requests_not_recorded_total",
        "queue_messages",
        "queue_unacknowledged",
        "workers",
        "beat_answered_seconds",
    }
    assert {key: value for key, value in of_rows.items() if key[0] not in left_out} == _OF_ROWS
    assert {found["coppice_scrape_ok", part] for part in metrics._SOURCES} == {1}


@pytest.mark.django_db
def test_the_broker_is_asked_for_its_queue_and_workers(settings: Any) -> None:
    with redis_status.redis.Redis.from_url(settings.REDIS_URL) as client:
        client.rpush(redis_status.QUEUE_KEY, "a")
        client.rpush(redis_status.TASKS_QUEUE_KEY, "b")
        # The second is silent for too long.
        client.hset(redis_status.WORKERS_KEY, mapping={"celery@one": time.time(), "celery@two": time.time() - 11})

    found = scraped()

    with redis_status.redis.Redis.from_url(settings.REDIS_URL) as client:
        client.delete(redis_status.QUEUE_KEY, redis_status.TASKS_QUEUE_KEY)
    assert (found["coppice_queue_messages",], found["coppice_workers",]) == (2, 1)
    assert found["coppice_scrape_ok", "broker"] == 1


@pytest.mark.django_db
def test_a_part_that_is_silent_costs_its_own_figures_only(settings: Any, silent_broker: str) -> None:
    settings.REDIS_URL = silent_broker

    found = scraped()

    assert (found["coppice_scrape_ok", "broker"], found["coppice_scrape_ok", "requests"]) == (0, 0)
    assert (found["coppice_scrape_ok", "servers"], found["coppice_scrape_ok", "audits"]) == (1, 1)
    assert ("coppice_workers",) not in found


# What proxies, load balancers, tunnels and content delivery networks add to the requests that they pass on.
ADDED_BY_PROXIES = (
    "Forwarded", "Via", "X-Forwarded", "X-Forwarded-For", "X-Forwarded-Host", "X-Forwarded-Proto", "X-Forwarded-Port",
    "X-Forwarded-Server", "X-Forwarded-Scheme", "X-Forwarded-Ssl", "X-Forwarded-Prefix", "X-Forwarded-Client-Cert",
    "X-Forwarded-Method", "X-Forwarded-Uri", "X-Original-Forwarded-For", "X-Original-Host", "X-Original-Url",
    "X-Real-Ip",
    "X-Client-Ip", "X-Cluster-Client-Ip", "X-Remote-Ip", "X-Remote-Addr", "X-Host", "X-Scheme",
    "X-Envoy-External-Address",
    "X-Envoy-Expected-Rq-Timeout-Ms", "X-Amzn-Trace-Id", "X-Amz-Cf-Id", "X-Azure-Clientip", "X-Azure-Fdid", "X-Arr-Ssl",
    "X-Cloud-Trace-Context", "X-Appengine-User-Ip", "X-Varnish", "X-Proxyuser-Ip", "X-Tailscale-User",
    "Tailscale-User-Login",
    "Cf-Connecting-Ip", "Cf-Connecting-Ipv6", "Cf-Ray", "Cf-Visitor", "Cf-Ipcountry", "True-Client-Ip",
    "Fastly-Client-Ip",
    "Fly-Client-Ip", "Cdn-Loop", "Client-Ip", "Proxy-Connection", "Max-Forwards", "Front-End-Https", "Early-Data",
    "Wl-Proxy-Client-Ip", "Ngrok-Skip-Browser-Warning", "Traceparent", "X-B3-Traceid",
)  # fmt: skip


@pytest.mark.parametrize("name", ADDED_BY_PROXIES)
def test_without_a_token_whoever_came_through_a_proxy_is_refused(settings: Any, name: Any) -> None:
    settings.METRICS_TOKEN = ""

    answers = [Client().get("/metrics", headers={name: value}) for value in ("127.0.0.1", "", "1.1 proxy")]

    assert [answer.status_code for answer in answers] == [403] * 3
    assert not any(b"coppice_" in answer.content for answer in answers)


@pytest.mark.django_db
def test_without_a_token_a_scraper_and_a_browser_on_the_machine_are_answered(settings: Any) -> None:
    settings.METRICS_TOKEN = ""
    scraper = {
        "Host": "localhost", "User-Agent": "Prometheus/3.1.0", "Accept": "text/plain;version=0.0.4",
        "Accept-Encoding": "gzip", "X-Prometheus-Scrape-Timeout-Seconds": "10",
    }  # fmt: skip
    browser = {
        "Host": "localhost", "User-Agent": "Mozilla/5.0", "Accept": "text/html", "Accept-Language": "en",
        "Connection": "close",
        "Upgrade-Insecure-Requests": "1", "Sec-Fetch-Site": "none", "Sec-Ch-Ua": "x", "Cookie": "a=b",
        "Priority": "u=0",
    }  # fmt: skip

    assert [Client().get("/metrics", headers=each).status_code for each in (scraper, browser)] == [200, 200]
    assert Client().get("/metrics", headers=scraper, REMOTE_ADDR="192.0.2.1").status_code == 403


@pytest.mark.django_db
@pytest.mark.parametrize(
    ("token", "sent", "status"),
    [
        ("", {}, 200),
        ("", {"REMOTE_ADDR": "192.0.2.1"}, 403),
        ("", {"REMOTE_ADDR": ""}, 403),
        ("t" * 20, {}, 401),
        ("t" * 20, {"HTTP_AUTHORIZATION": "Bearer " + "t" * 19}, 401),
        ("t" * 20, {"HTTP_AUTHORIZATION": "Bearer é"}, 401),
        ("t" * 20, {"HTTP_AUTHORIZATION": "Bearer " + "t" * 20, "REMOTE_ADDR": "192.0.2.1"}, 200),
    ],
)
def test_metrics_are_for_this_machine_or_for_whoever_has_the_token(
    settings: Any, token: Any, sent: Any, status: int
) -> None:
    settings.METRICS_TOKEN = token

    answer = Client().get("/metrics", **sent)

    assert answer.status_code == status
    assert (b"coppice_" in answer.content) == (status == 200)
    assert "no-store" in answer["Cache-Control"]


def test_a_request_is_counted_in_the_first_bucket_that_holds_it(settings: Any) -> None:
    for seconds in (request_metrics.BUCKETS[0], 0.003, 11.0):
        request_metrics.count("GET", "/counted", 200, seconds)

    (found,) = [each for each in request_metrics.traffic() if each.route == "/counted"]

    assert found.buckets == [1, 1, *[0] * (len(request_metrics.BUCKETS) - 2), 1]
    assert (found.by_status, found.seconds) == ({"200": 3}, pytest.approx(11.0055))


def test_what_is_counted_while_redis_does_not_answer_is_kept_beside_the_earlier(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def away(*_: object) -> None:
        request_metrics.count("GET", "/counted", 200, 0.001)
        raise redis_status.BrokerSilent

    request_metrics.count("GET", "/counted", 200, 0.001)
    with monkeypatch.context() as patch:
        patch.setattr(redis_status, "add_up", away)
        request_metrics.flush()

    (found,) = [each for each in request_metrics.traffic() if each.route == "/counted"]
    assert found.by_status == {"200": 2}


@pytest.mark.django_db
def test_the_oldest_partition_of_a_table_is_told() -> None:
    first = datetime(2020, 1, 6, tzinfo=UTC)
    for days in (0, 7):
        partitions.create(request_log.PARTITIONS, (first + timedelta(days)).date())

    (told,) = [each for each in metrics._partitions() if each.name == "coppice_partition_oldest_timestamp_seconds"]

    of_table = {each.labels["table"]: each.value for each in told.samples}
    assert of_table[request_log.PARTITIONS.name] == first.timestamp()
