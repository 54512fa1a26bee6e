"""What a streaming replica answers, with what age, and what never reaches it."""

import re
import subprocess
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from django.contrib.auth.models import User
from django.core.management import CommandError, call_command
from django.db import connection, connections, transaction
from django.test import Client
from django.urls import reverse

from config.admin import tiles
from config.admin.reports import KINDS
from config.admin.site import OperatorsAdminSite
from config.management.commands import doctor
from config.ops import audits, metrics, request_metrics
from config.postgresql import replica, sessions
from config.web import replica_pages
from tests.api.caller import Caller
from tests.support import replicas
from tests.support.desk_pages import confirm, text_of, url
from tests.support.standby import Standby, streaming_standby
from transfers.models import Transfer
from wallets import operations as wallets
from wallets.models import AuditRun, Token, Wallet

ROOT = Path(__file__).parents[2]
pytestmark = pytest.mark.django_db(transaction=True)


@pytest.fixture(scope="module")
def standby(django_db_setup: None) -> Iterator[Standby]:
    # A statement that stands in the way of the log is cancelled at once.
    with streaming_standby(hot_standby_feedback="off", max_standby_streaming_delay="0") as server:
        yield server


@pytest.fixture
def followed(transactional_db: None, standby: Standby, settings: Any) -> Iterator[Standby]:
    with replicas.configured(standby.url(), settings):
        yield standby
        if not standby.answers():
            standby.start()
        standby.delay(0)
        standby.resume()
        standby.catch_up()


@pytest.fixture
def desk(followed: Standby, desk: Client) -> Client:
    return desk


def asked(client: Any, path: str) -> tuple[str, Any]:
    """Return which server answered the page, and the response."""
    with replicas.statements() as executed:
        response = client.get(path)
        if response.streaming:
            response.content_of_stream = b"".join(response.streaming_content).decode()
    return "replica" if replicas.count_of(executed, replica.ALIAS) > 1 else "primary", response


WALLETS = "/admin/wallets/wallet/"


# --- every place that reads from it ----------------------------------------------------------------


def test_these_places_alone_read_from_the_replica() -> None:
    found = subprocess.run(
        ["git", "grep", "-nE", r"replica(_pages)?\.(read|read_lines|reading|answered)\(|_from_replica\(partial"]
        + ["--", "*.py", ":!tests"],
        cwd=ROOT, capture_output=True, text=True, check=True,
    ).stdout  # fmt: skip
    places = sorted(re.findall(r"^([\w/]+\.py):\d+:\s*(.*)$", found, re.MULTILINE))
    assert places == PLACES


PLACES = [
    ("config/admin/base.py", "return replica_pages.answered(request, lambda: self._csv(request))"),
]


def pages_of(ledger: SimpleNamespace) -> list[str]:
    site = next(iter(OperatorsAdminSite.__subclasses__()), OperatorsAdminSite)
    assert site is not None
    from django.contrib import admin

    lists = [
        reverse(f"admin:{model._meta.app_label}_{model._meta.model_name}_{what}")
        for model in admin.site._registry
        for what in ("changelist", "csv")
    ]
    reports = [
        f"{reverse(f'admin:report_{kind}')}?start=2000-01-01{more}" for kind in KINDS for more in ("", "&format=csv")
    ]
    statement = reverse("admin:report_wallet", args=[ledger.alice.pk])
    return [*lists, *reports, statement, f"{statement}?format=csv", f"/pay/{ledger.payment_request.pk}"]


def test_all_of_them_answer_from_a_standby_that_accepts_no_write(
    desk: Client, followed: Standby, ledger: SimpleNamespace, caplog: pytest.LogCaptureFixture
) -> None:
    replicas.follow(followed)
    for path in pages_of(ledger):
        on_primary = Client()
        with replicas.statements() as executed:
            response = desk.get(path)
            body = b"".join(response.streaming_content) if response.streaming else response.content
        assert response.status_code == 200, path
        assert body, path
        there = [sql for alias, sql in executed if alias == replica.ALIAS]
        here = [sql for alias, sql in executed if alias != replica.ALIAS]
        assert len(there) > 1, path
        assert not [sql for sql in there if re.search(r"desk_session\b.*digest|auth_permission|FOR (NO KEY )?(UPDATE|SHARE)", sql)], path
        if path.startswith("/admin/"):
            assert any("desk_session" in sql for sql in here), path
    assert "replica_failed" not in caplog.text
    assert "replica_away" not in caplog.text
