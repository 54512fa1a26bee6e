"""PgBouncer in transaction mode: everything works, with the same limits, and no client's state reaches another."""

import base64
import os
import re
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import httpx
import psycopg
import pytest
from django.contrib.auth.models import User
from django.db import connection

from config.dev.embedded import ROOT
from config.ops import health
from config.postgresql import sessions
from lockers.raida.files import write_bin
from tests.api.caller import PASSWORD
from tests.api.web_server import web_server
from tests.chaos.worker import Worker
from tests.lockers.conftest import Mint, mint, network, running_network  # noqa: F401 - fixtures
from tests.pooler import needs_pgbouncer, pgbouncer
from tests.support.databases import database_url
from tests.support.local_network import LocalNetwork
from transfers import audit
from transfers import operations as transfers
from wallets import operations as wallets

# Fewer than the threads of the web server, so that each session serves many of them.
SESSIONS = 3
SHOWN = (
    "jit",
    "enable_seqscan",
    "lock_timeout",
    "statement_timeout",
    "idle_in_transaction_session_timeout",
    "TimeZone",
)
WANTED = ("off", "off", "5s", "30s", "1min", "UTC")


@pytest.fixture
def forget_the_settings(transactional_db: None) -> Iterator[None]:
    yield
    with connection.cursor() as cursor:
        cursor.execute("SELECT current_database()")
        cursor.execute(f'ALTER ROLE SESSION_USER IN DATABASE "{cursor.fetchone()[0]}" RESET ALL')


@contextmanager
def lent(url: str, pooled: sessions.Pooled = sessions.Pooled.YES) -> Iterator[Any]:
    """Give Django's connection as a process with this URL has it."""
    # It would be ended with the other sessions of its role.
    connection.close()
    lending = connection.copy()
    lending.settings_dict.update(sessions.database(url, pooled))
    try:
        yield lending
    finally:
        lending.close()


def shown(url: str) -> tuple[str, ...]:
    """What a new client finds in the session that it is lent."""
    with psycopg.connect(url, autocommit=True, prepare_threshold=None) as client:
        return tuple(client.execute("SELECT current_setting(%s)", [name]).fetchone()[0] for name in SHOWN)  # type: ignore[index]


@needs_pgbouncer
def test_the_database_keeps_the_settings_and_sessions_that_began_without_are_ended(forget_the_settings: None) -> None:
    with pgbouncer(sessions=1) as url, lent(url) as lending:
        before = shown(url)
        left = sessions.keep(lending, sessions.wanted(url))
        after = shown(url)
        again = sessions.keep(lending, sessions.wanted(url))

    assert before != WANTED
    assert (left, again) == (0, None)
    assert after == WANTED


@pytest.fixture
def reader(transactional_db: None) -> Iterator[str]:
    """The name of another role that may log in."""
    with connection.cursor() as cursor:
        cursor.execute("CREATE ROLE reader_beside LOGIN PASSWORD 'of-the-test'")
    yield "reader_beside"
    # The test has ended the session.
    connection.close()
    with connection.cursor() as cursor:
        cursor.execute("DROP ROLE reader_beside")


def test_sessions_that_are_ended_are_idle_of_this_role_and_database_and_began_before(
    reader: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sessions, "_END_SECONDS", 0.0)
    connection.ensure_connection()
    here = connection.get_connection_params()
    arguments = {name: here[name] for name in ("user", "host", "port", "password") if here.get(name)}

    def opened(database: str, **other: str) -> Any:
        return psycopg.connect(dbname=database, autocommit=True, **arguments | other)

    def is_alive(session: Any) -> bool:
        try:
            session.execute("SELECT 1")
        except psycopg.Error:
            return False
        return True

    with (
        opened(here["dbname"]) as idle,
        opened(here["dbname"]) as at_work,
        opened("postgres") as elsewhere,
        opened(here["dbname"], user=reader, password="of-the-test") as of_others,
    ):
        at_work.execute("BEGIN")
        at_work.execute("SELECT 1")
        assert sessions._end_earlier_sessions(connection) == 1
        assert [is_alive(each) for each in (idle, at_work, elsewhere, of_others)] == [False, True, True, True]
        at_work.execute("ROLLBACK")
        assert sessions._end_earlier_sessions(connection) == 0
        assert [is_alive(each) for each in (at_work, elsewhere, of_others)] == [False, True, True]


def test_a_session_that_begins_while_earlier_ones_are_waited_for_stays(
    transactional_db: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    connection.ensure_connection()
    here = connection.get_connection_params()
    arguments = {name: here[name] for name in ("dbname", "user", "host", "port", "password") if here.get(name)}
    at_work = psycopg.connect(**arguments)
    at_work.execute("SELECT 1")
    begun = []

    def wait(seconds: float) -> None:
        begun.append(psycopg.connect(**arguments, autocommit=True))
        at_work.close()

    monkeypatch.setattr(sessions.time, "sleep", wait)
    assert sessions._end_earlier_sessions(connection) == 0
    (later,) = begun
    with later:
        assert later.execute("SELECT 1").fetchone() == (1,)


def test_a_session_that_lacks_what_is_stored_already_is_ended(forget_the_settings: None) -> None:
    """A pooler keeps a session that began before."""
    wanted = sessions.wanted("postgresql://h/n")
    with lent(database_url()) as lending:
        assert sessions.keep(lending, wanted) == 0
        assert sessions.keep(lending, wanted) is None
        with lending.cursor() as cursor:
            cursor.execute("SELECT set_config('jit', 'on', false)")
        assert sessions.differences(lending, wanted) == {"jit": ("on", "off")}
        assert sessions.keep(lending, wanted) == 0
        assert sessions.differences(lending, wanted) == {}


@needs_pgbouncer
def test_options_of_ones_own_are_kept_too_and_come_before_ours(forget_the_settings: None) -> None:
    own = "&options=-c%20statement_timeout%3D45s%20--search_path%3Dpg_temp,public%20-c%20work_mem%3D7MB"
    with pgbouncer(sessions=1) as url, lent(url + own) as lending:
        sessions.keep(lending, sessions.wanted(url + own))
        found = sessions.differences(lending, sessions.wanted(url + own))
        with psycopg.connect(url, autocommit=True) as client:
            kept = client.execute(
                "SELECT current_setting('statement_timeout'), current_setting('search_path'),"
                " current_setting('work_mem'), current_setting('lock_timeout')"
            ).fetchone()

    assert found == {}
    assert kept == ("45s", "pg_temp,public", "7MB", "5s")


@needs_pgbouncer
def test_what_a_session_lacks_is_named_with_what_helps(
    forget_the_settings: None, settings: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    def asked(check: Callable[[], None], url: str, pooled: sessions.Pooled) -> str:
        settings.DATABASE_POOLED = pooled
        with lent(url, pooled) as lending:
            monkeypatch.setattr(health, "connection", lending)
            with pytest.raises(health.Unhealthy) as unwell:
                check()
            return str(unwell.value)

    with pgbouncer(sessions=2) as url:
        lacking = asked(health.check_settings, url, sessions.Pooled.YES)
        refused = asked(health.check_database, url, sessions.Pooled.NO)
    with pgbouncer(sessions=2, ignore_startup_parameters="options") as url:
        dropped = asked(health.check_settings, url, sessions.Pooled.NO)

    assert lacking == (
        "enable_seqscan is on, not off, idle_in_transaction_session_timeout is 0, not 1min,"
        " jit is on, not off, lock_timeout is 0, not 5s, statement_timeout is 0, not 30s;"
        " run `manage.py prepare`"
    )
    assert refused == "is behind a pooler; set COPPICE_DATABASE_POOLED=true"
    assert "statement_timeout is 0, not 30s" in dropped
    assert dropped.endswith("; a pooler drops them: set COPPICE_DATABASE_POOLED=true and run `manage.py prepare`")


# What would stay behind in a session that a pooler lends to the next client, or be looked for in another one.
OF_A_SESSION = re.compile(
    r"""pg_(try_)?advisory_(un)?lock|[("';]\s*SET\s+(?!LOCAL\b|TRANSACTION\b|CONSTRAINTS\b)|SET\s+SESSION\b|\b(UN)?LISTEN\s|pg_notify"""
    r"""|\bNOTIFY\s|CREATE\s+(LOCAL\s+)?TEMP|\bPREPARE\s|DEALLOCATE|DISCARD\s|WITH\s+HOLD|set_session|isolation_level"""
    r"""|set_config\((?!.*\btrue\))"""
)


def test_no_statement_relies_on_a_session() -> None:
    found = []
    # Temporary tables of an import end with its one transaction, and it reads another database over its own connection.
    staging, source = (ROOT / "config/treetracker_import" / name for name in ("staging.py", "source.py"))
    assert staging.read_text().count("TEMPORARY TABLE") == staging.read_text().count("ON COMMIT DROP")
    for package in ("config", "lockers", "transfers", "trusts", "wallets", "webhooks"):
        for path in {*(ROOT / package).rglob("*.py")} - {staging, source}:
            lines = path.read_text().splitlines()
            found += [f"{path.name}: {line.strip()}" for line in lines if OF_A_SESSION.search(line)]

    assert found == []
    assert OF_A_SESSION.search('cursor.execute("SET statement_timeout = 0")')
    assert OF_A_SESSION.search('cursor.execute("SELECT pg_advisory_lock(1)")')
    assert not OF_A_SESSION.search('cursor.execute("SET LOCAL statement_timeout = 0")')


def test_a_pooled_connection_prepares_nothing_unless_the_pooler_knows_it() -> None:
    url = "postgresql://u@h/d?options=-c%20work_mem%3D7MB"
    direct, pooled, prepared = (sessions.database(url, sessions.Pooled(each)) for each in ("false", "true", "prepared"))

    def told(database: dict[str, Any]) -> tuple[Any, ...]:
        options = database["OPTIONS"]
        return options["prepare_threshold"], options["options"], database["DISABLE_SERVER_SIDE_CURSORS"]

    sent = "-c jit=off -c enable_seqscan=off -c lock_timeout=5s -c statement_timeout=30s"
    assert told(direct)[1].startswith(sent)
    assert told(direct)[1].endswith(" -c work_mem=7MB")
    assert (told(direct)[0], told(direct)[2]) == (1, False)
    assert told(pooled) == (None, "", True)
    assert told(prepared) == (1, "", True)


@needs_pgbouncer
def test_everything_works_through_few_sessions(
    forget_the_settings: None,
    network: LocalNetwork,  # noqa: F811
    mint: Mint,  # noqa: F811
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    User.objects.create_superuser("olivia", password="a long password")
    _, key = wallets.create_api_key(name="partner")
    for name in ("alice", "bobby"):
        transfers.issue_tokens(wallet=wallets.create_wallet(name=name, password=PASSWORD), count=60)
    pooled = {"COPPICE_DATABASE_POOLED": "true"}
    with pgbouncer(sessions=SESSIONS) as url:
        environment = {"DATABASE_URL": url, "DJANGO_SETTINGS_MODULE": "config.settings.test"}
        connection.close()
        prepared = subprocess.run(
            [sys.executable, "manage.py", "prepare"], env=os.environ | environment | pooled, cwd=ROOT,
            capture_output=True, text=True, check=False,
        )  # fmt: skip
        monkeypatch.setattr("tests.chaos.worker.database_url", lambda: url)
        monkeypatch.setenv("COPPICE_DATABASE_POOLED", "true")
        worker = Worker(network, tmp_path / "worker")
        try:
            hosts = {"COPPICE_RAIDA_HOSTS": ",".join(network.hosts), "DATABASE_URL": url, **pooled}
            with web_server(hosts) as address:
                with httpx.Client(base_url=f"http://{address}", timeout=60) as client:
                    client.headers["treetracker-api-key"] = key
                    statuses = _play(client, mint)
                    statuses |= _look_at_the_desk(address)
                told = httpx.get(f"http://{address}/readyz", timeout=60).json()
        finally:
            worker.stop()
        found = {shown(url) for _ in range(2 * SESSIONS)}

    assert {name: codes for name, codes in statuses.items() if not codes <= {200, 201, 202}} == {}
    assert prepared.stdout.endswith("settings of sessions: stored in the database\n"), prepared.stderr
    assert told["settings"] == "ok"
    assert found == {WANTED}
    assert list(audit.audit_findings()) == []


def _play(client: httpx.Client, mint: Mint) -> dict[str, set[int]]:  # noqa: F811
    """Do a little of everything, many at once, and return the status codes by what was done."""
    bearers = {}
    for name in ("alice", "bobby"):
        told = client.post("/auth", json={"wallet": name, "password": PASSWORD})
        bearers[name] = {"authorization": f"Bearer {told.json()['token']}"}

    def transfer(number: int) -> dict[str, int]:
        # Some ask for everything in one transaction, and repeat it.
        keyed = bearers["alice"] | ({"idempotency-key": f"transfer-{number}"} if number % 2 else {})
        send = {"bundle": {"bundle_size": 1}, "sender_wallet": "alice", "receiver_wallet": "bobby"}
        made = client.post("/transfers", json=send, headers=keyed)
        again = client.post("/transfers", json=send, headers=keyed) if number % 2 else made
        assert made.json()["id"] == again.json()["id"]
        accepted = client.post(f"/transfers/{made.json()['id']}/accept", json={}, headers=bearers["bobby"])
        events = client.get("/events", params={"wallet": "alice", "limit": 3}, headers=bearers["alice"])
        listed = client.get("/tokens", params={"limit": 5}, headers=bearers["bobby"])
        opened = client.post(
            "/wallets", json={"wallet": f"tree-{number}"}, headers=keyed | {"idempotency-key": f"{number}"}
        )
        return {
            "transfer": made.status_code, "again": again.status_code, "accept": accepted.status_code,
            "events": events.status_code, "tokens": listed.status_code, "wallet": opened.status_code,
        }  # fmt: skip

    def batch(number: int) -> dict[str, int]:
        rows = {"csv": ("rows.csv", "wallet_name,token_transfer_amount_overwrite\nbobby,2\n", "text/csv")}
        done = client.post(
            "/wallets/batch-transfer", data={"sender_wallet": "alice", "token_transfer_amount_default": "1"},
            files=rows, headers=bearers["alice"],
        )  # fmt: skip
        return {"batch": done.status_code}

    def coins(_: int) -> dict[str, int]:
        def done(begun: httpx.Response) -> int:
            task = begun.json()
            while task["status"] == "running":
                time.sleep(0.05)
                task = client.get(f"/api/v1/task/{begun.json()['id']}", headers=bearers["alice"]).json()
            assert task["status"] == "completed", task
            return begun.status_code

        data = base64.b64encode(write_bin(mint(1, 0, 0, 0))).decode()
        body = {"name": "alice", "items": [{"type": "inline", "data": data}]}
        imported = done(client.post("/api/v1/import", json=body, headers=bearers["alice"]))
        put = done(client.post("/api/v1/locker", json={"name": "alice", "amount": 10}, headers=bearers["alice"]))
        return {"import": imported, "put": put}

    statuses: dict[str, set[int]] = {}
    with ThreadPoolExecutor(12) as threads:
        done = [threads.submit(transfer, number) for number in range(24)]
        done += [threads.submit(batch, number) for number in range(4)]
        done += [threads.submit(coins, 0)]
        for each in done:
            for name, status in each.result(timeout=120).items():
                statuses.setdefault(name, set()).add(status)
    return statuses


def _look_at_the_desk(address: str) -> dict[str, set[int]]:
    """Sign in and open each list, and download each as CSV."""
    statuses: dict[str, set[int]] = {}
    with httpx.Client(base_url=f"http://{address}", timeout=60, follow_redirects=True) as client:
        page = client.get("/admin/login/")
        token = re.search(r'name="csrfmiddlewaretoken" value="(\w+)"', page.text)
        assert token is not None
        form = {"username": "olivia", "password": "a long password", "csrfmiddlewaretoken": token[1], "next": "/admin/"}
        home = client.post("/admin/login/", data=form)
        statuses["home"] = {home.status_code}
        lists = sorted(set(re.findall(r'href="(/admin/\w+/\w+/)"', home.text)))
        assert len(lists) > 5
        with ThreadPoolExecutor(8) as threads:
            for path, shown in zip(lists, threads.map(client.get, lists), strict=True):
                statuses[path] = {shown.status_code}
        for path in ("/admin/wallets/wallet/csv/", "/admin/transfers/transfer/csv/"):
            statuses[path] = {client.get(path).status_code}
    return statuses
