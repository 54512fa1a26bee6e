"""The rules and the dashboard of docker/monitoring: of metrics that exist, and tested by Prometheus's own program."""

import json
import os
import re
import shutil
import subprocess
from pathlib import Path
from typing import Any

import pytest
import yaml
from django.utils import timezone
from prometheus_client.parser import text_string_to_metric_families

from config.admin.models import Backup
from config.environment import ROOT
from config.ops import audits, metrics, redis_status
from config.postgresql import replica
from config.seals import sealing
from lockers.models import LockerTask, ServerReading
from lockers.states import TaskKind
from wallets import operations as wallets

HERE = ROOT / "docker/monitoring"
RULES = yaml.safe_load((HERE / "coppice.rules.yml").read_text())["groups"][0]["rules"]
DASHBOARD = json.loads((HERE / "grafana-dashboard.json").read_text())
PANELS = [panel for panel in DASHBOARD["panels"] if panel["type"] != "row"]
METRIC = re.compile(r"\bcoppice_\w+")
METRIC_LABEL = re.compile(r'alertname="(\w+)"')
# Debian's path of a user may lack the directory.
PROMTOOL = shutil.which("promtool", path=f"{os.environ.get('PATH', '')}:/usr/bin:/usr/local/bin")
needs_promtool = pytest.mark.skipif(
    PROMTOOL is None, reason="NO PROMTOOL: install prometheus to test the rules of docker/monitoring"
)


def promtool(*arguments: object) -> subprocess.CompletedProcess[str]:
    assert PROMTOOL is not None
    return subprocess.run([PROMTOOL, *map(str, arguments)], capture_output=True, text=True, timeout=120)


def queries() -> dict[str, str]:
    return {f"{panel['title']} {target['refId']}": target["expr"] for panel in PANELS for target in panel["targets"]}


@pytest.fixture
def exposed(db: None, settings: Any, monkeypatch: pytest.MonkeyPatch) -> set[str]:
    """The names of all samples that /metrics can have."""
    metrics.cache.clear()
    sapling = wallets.create_wallet(name="sapling")
    LockerTask.objects.create(
        kind=TaskKind.ECHO, wallet=sapling, actor=sapling, receipt_id="0" * 32, deadline="2999-01-01 00:00Z"
    )
    ServerReading.objects.create(raida=4, outcome="answered", latency_ms=250, answered_at=timezone.now())
    Backup.objects.create(made_at=timezone.now(), bytes=1)
    audits.run()
    sealing.seal(is_due=True)
    redis_status.record_heartbeat(settings.REDIS_URL)
    # The values of a real one: tests/admin/test_replica.py.
    monkeypatch.setattr(replica, "is_configured", lambda: True)
    monkeypatch.setattr(replica, "state", lambda: replica.Reading(timezone.now(), 1.0, 0))
    found = {"coppice_http_requests_total", "coppice_http_request_duration_seconds_bucket", "coppice_coins"}
    for family in text_string_to_metric_families(metrics.exposition().decode()):
        found |= {sample.name for sample in family.samples}
    return found


def test_rules_and_panels_name_metrics_that_exist(exposed: set[str]) -> None:
    named = {rule["alert"]: rule["expr"] for rule in RULES} | queries()

    wrong = {name: sorted(set(METRIC.findall(query)) - exposed) for name, query in named.items()}

    assert len(named) > 50
    assert {name: missing for name, missing in wrong.items() if missing} == {}


def test_each_metric_has_a_panel(exposed: set[str]) -> None:
    shown = set(METRIC.findall(" ".join(queries().values())))

    # Of a histogram one series is shown; the tasks by state are those since the beginning.
    left_out = {"coppice_audit_result", "coppice_seal_height", "coppice_locker_tasks", "coppice_raida_answered_seconds"}
    parts = {name for name in exposed if name.endswith(("_sum", "_count", "_created"))}
    assert exposed - parts - shown == left_out


def test_each_rule_says_what_to_do_and_how_urgent_it_is() -> None:
    for rule in RULES:
        assert rule["labels"]["severity"] in {"page", "ticket"}, rule["alert"]
        assert set(rule["annotations"]) == {"summary", "description"}, rule["alert"]
    assert len({rule["alert"] for rule in RULES}) == len(RULES)


def test_the_dashboard_can_be_imported() -> None:
    assert (DASHBOARD["schemaVersion"], DASHBOARD["uid"]) == (39, "coppice")
    assert len({panel["id"] for panel in DASHBOARD["panels"]}) == len(DASHBOARD["panels"])
    assert {target["datasource"]["uid"] for panel in PANELS for target in panel["targets"]} == {"${datasource}"}
    # No panel covers another, and none is wider than the page.
    taken: set[tuple[int, int]] = set()
    for panel in DASHBOARD["panels"]:
        place = panel["gridPos"]
        cells = {
            (x, y)
            for x in range(place["x"], place["x"] + place["w"])
            for y in range(place["y"], place["y"] + place["h"])
        }
        assert not cells & taken, panel["title"]
        assert max(x for x, _ in cells) < 24, panel["title"]
        taken |= cells


@needs_promtool
def test_promtool_accepts_the_rules_the_example_and_the_queries(tmp_path: Path) -> None:
    checked = promtool("check", "rules", HERE / "coppice.rules.yml")
    assert checked.returncode == 0, checked.stdout + checked.stderr
    example = promtool("check", "config", "--syntax-only", HERE / "prometheus.yml")
    assert example.returncode == 0, example.stdout + example.stderr
    # It knows queries in rules only.
    written = [
        {"record": f"query:{number}", "expr": query.replace("$__rate_interval", "1m")}
        for number, query in enumerate(queries().values())
    ]
    (tmp_path / "queries.yml").write_text(yaml.safe_dump({"groups": [{"name": "all", "rules": written}]}))
    asked = promtool("check", "rules", tmp_path / "queries.yml")
    assert asked.returncode == 0, asked.stdout + asked.stderr


@needs_promtool
def test_the_tests_of_the_rules_pass() -> None:
    passed = promtool("test", "rules", HERE / "coppice.rules.test.yml")
    assert passed.returncode == 0, passed.stdout + passed.stderr


def test_the_tests_of_the_rules_expect_each_rule_to_fire_and_to_be_silent() -> None:
    """promtool compares the alerts that fire with all that a test expects."""
    silent, failing, _ = yaml.safe_load((HERE / "coppice.rules.test.yml").read_text())["tests"]

    assert silent["promql_expr_test"][0]["exp_samples"] == []
    (of_all,) = failing["promql_expr_test"]
    fired = {METRIC_LABEL.findall(sample["labels"])[0] for sample in of_all["exp_samples"]}
    assert fired == {rule["alert"] for rule in RULES}
    series = " ".join(each["series"] for each in silent["input_series"])
    assert {name for rule in RULES for name in METRIC.findall(rule["expr"])} <= set(METRIC.findall(series))
