"""What a streaming replica answers, with what age, and what never reaches it."""

import re
import select
import socket
import threading
import time
from collections.abc import Iterator
from functools import partial
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from django.contrib import admin
from django.core.management import CommandError, call_command
from django.db import OperationalError, connection, connections, transaction
from django.http import Http404, HttpResponse
from django.test import Client, RequestFactory
from django.urls import reverse

from config.admin import tiles
from config.admin.reports import KINDS
from config.management.commands import doctor
from config.ops import audits, metrics, request_metrics
from config.postgresql import replica
from config.seals import sealing
from config.web import replica_pages
from tests.api.caller import logged_in
from tests.support import replicas
from tests.support.desk_pages import confirm, text_of
from tests.support.standby import Standby, follow, streaming_standby
from wallets import errors
from wallets import operations as wallets
from wallets.models import EventPosition, Wallet
from wallets.states import AuditResult

ROOT = Path(__file__).parents[2]
WALLETS = "/admin/wallets/wallet/"
pytestmark = pytest.mark.django_db(transaction=True)


@pytest.fixture(scope="module")
def standby(django_db_setup: None) -> Iterator[Standby]:
    # A statement that stands in the way of the log is cancelled at once.
    with streaming_standby(hot_standby_feedback="off", max_standby_streaming_delay="0") as server:
        yield server


@pytest.fixture
def followed(transactional_db: None, standby: Standby, settings: Any) -> Iterator[Standby]:
    # A test may take longer than the usual limit; those about the limit set it.
    settings.REPLICA_MAX_LAG = 3600
    with replicas.configured(standby.url(), settings):
        yield standby
        if not standby.answers():
            standby.start()
        standby.resume()
        standby.catch_up()


def asked(client: Any, path: str) -> tuple[str, str]:
    """Return which server read the page, and its text. Its status is 200."""
    with replicas.statements() as executed:
        response = client.get(path)
        body = b"".join(response.streaming_content) if response.streaming else response.content
    assert response.status_code == 200, path
    return "replica" if replicas.count_of(executed, replica.ALIAS) else "primary", body.decode()


# --- every place that reads from it ----------------------------------------------------------------


READS = re.compile(r"\breplica(?:_pages)?\.(?:read|read_lines|reading|Begun|answered)\(|\b_from_replica\(partial")
PLACES = {
    # The desk: lists and their CSV; reports and statements, and their CSV.
    "config/admin/base.py": 2,
    "config/admin/site.py": 3,
    # Public pages.
    "config/web/public_pages/pay.py": 1,
    # The API: the page of events, after the wallets were looked up; a wallet's export.
    "config/api/treetracker/event_views.py": 1,
    "config/api/treetracker/wallet_views.py": 1,
    "config/management/commands/export_wallet.py": 1,
    "config/ops/audits.py": 1,
    # What the pages share.
    "config/web/replica_pages.py": 2,
}


def test_these_places_alone_read_from_the_replica() -> None:
    found = {
        str(path.relative_to(ROOT)): len(READS.findall(path.read_text()))
        for app in ("config", "wallets", "trusts", "transfers", "lockers", "webhooks")
        for path in (ROOT / app).rglob("*.py")
    }
    assert {path: number for path, number in found.items() if number} == PLACES


def pages_of(ledger: SimpleNamespace) -> list[str]:
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


# Who the reader is and what it may see; what locks; and what writes.
NEVER_THERE = re.compile(
    r"desk_session\b.*\bdigest|auth_permission|idempotentanswer|FOR (NO KEY )?(UPDATE|SHARE)|advisory"
    r"|INSERT|UPDATE|DELETE"
)


def test_each_of_them_answers_from_a_standby_which_accepts_no_write(
    followed: Standby, desk: Client, ledger: SimpleNamespace, caplog: pytest.LogCaptureFixture
) -> None:
    follow(followed)
    openings = 0
    for path in pages_of(ledger):
        with replicas.statements() as executed:
            response = desk.get(path)
            body = b"".join(response.streaming_content) if response.streaming else response.content
        assert response.status_code == 200, path
        assert body, path
        there = [sql for alias, sql in executed if alias == replica.ALIAS]
        here = [sql for alias, sql in executed if alias != replica.ALIAS]
        assert there, path
        assert not [sql for sql in there if NEVER_THERE.search(sql)], path
        # Who reads, and which server it is, when the connection opens.
        about_server = [sql for sql in here if "pg_control_system" in sql]
        openings += len(about_server)
        assert all(re.search(r"desk_(session|secondfactor)|auth_", sql) for sql in here if sql not in about_server), (
            path
        )
    assert openings == 1
    assert "replica_" not in caplog.text


def test_a_write_in_a_question_is_refused_there_and_the_primary_answers(followed: Standby, ledger: Any) -> None:
    follow(followed)
    asked_of: list[str] = []

    def question(found: replica.Reading | None) -> int:
        asked_of.append(connection.alias)
        return Wallet.objects.filter(pk=ledger.alice.pk).update(about="written")

    assert replica.read(question) == 1
    assert asked_of == ["replica", "default"]
    with pytest.raises(replica.Unusable), replica.reading():
        wallets.create_wallet(name="nobody")
    assert not Wallet.objects.filter(name="nobody").exists()


# --- the own writes, and the age of the others' ----------------------------------------------------


def test_a_reader_sees_the_own_writes_and_how_old_the_others_are(
    followed: Standby, desk: Client, ledger: SimpleNamespace, staff: Any
) -> None:
    follow(followed)
    other = Client()
    other.force_login(staff)
    followed.pause()
    done = confirm(desk, reverse("admin:create-wallet"), name="juniper")
    assert done.status_code == 302
    cookie = desk.cookies[replica_pages.COOKIE]
    assert (cookie["max-age"], cookie["httponly"], cookie["samesite"]) == (3601, True, "Lax")

    server, text = asked(desk, WALLETS)
    assert (server, "juniper" in text, "s behind" in text) == ("primary", True, False)
    server, text = asked(other, WALLETS)
    assert (server, "juniper" in text) == ("replica", False)
    at = EventPosition.objects.get().at
    assert re.search(rf"As of {at:%Y-%m-%d %H:%M:%S} UTC, \d+ s behind: read from the replica\.", text)
    followed.resume()
    follow(followed)
    server, text = asked(desk, WALLETS)
    assert (server, "juniper" in text) == ("replica", True)
    # The primary answers a browser whose cookie was changed.
    desk.cookies[replica_pages.COOKIE] = "0/0' OR"
    assert asked(desk, WALLETS)[0] == "primary"


def test_a_reader_whose_write_has_no_known_position_reads_from_the_primary(
    rf: RequestFactory, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The connection broke after the write, or the primary accepts none; other requests set no cookie."""

    def unknown() -> str:
        raise OperationalError

    monkeypatch.setattr(replica, "is_configured", lambda: True)
    monkeypatch.setattr(replica, "position", unknown)
    answer = replica_pages.note_writes(lambda request: HttpResponse())
    cookies = [answer(ask(WALLETS)).cookies for ask in (rf.post, rf.delete, rf.get, rf.head, rf.options)]
    assert [each[replica_pages.COOKIE].value for each in cookies if each] == ["FFFFFFFF/FFFFFFFF"] * 2
    assert not answer(rf.post("/wallets")).cookies


def test_what_the_replica_does_not_have_yet_is_asked_of_the_primary(
    followed: Standby, desk: Client, ledger: SimpleNamespace, rf: RequestFactory
) -> None:
    follow(followed)
    followed.pause()
    new = wallets.create_wallet(name="juniper")
    statement = reverse("admin:report_wallet", args=[new.pk])
    with replicas.statements() as executed:
        response = desk.get(statement)
    assert response.status_code == 200
    assert "juniper" in text_of(response)
    assert "s behind" not in text_of(response)
    assert replicas.count_of(executed, replica.ALIAS) == 1
    # A page may also say so without an exception.
    answers = iter([404, 200])
    found = replica_pages.answered(rf.get("/pay/x"), lambda: HttpResponse(status=next(answers)))
    assert found.status_code == 200

    def missing() -> HttpResponse:
        raise Http404

    with pytest.raises(Http404):
        replica_pages.answered(rf.get("/pay/x"), missing)


def test_an_export_over_the_api_has_all_that_was_written_before(followed: Standby, ledger: SimpleNamespace) -> None:
    follow(followed)
    followed.catch_up()
    lines = list(
        replica.read_lines(lambda: iter([connection.alias] * 3), after=replica.position(), patience_seconds=30)
    )
    assert lines == ["replica", "replica", "replica"]
    followed.pause()
    wallets.create_wallet(name="juniper")
    began = time.monotonic()
    lines = list(replica.read_lines(lambda: iter([connection.alias]), after=replica.position(), patience_seconds=0.1))
    assert lines == ["default"]
    assert time.monotonic() - began > 0.1


def test_an_export_that_is_refused_or_given_up_leaves_no_transaction_on_the_replica(
    followed: Standby,
) -> None:
    alice = logged_in("alice", wallets.create_api_key(name="partner")[1])
    assert alice.wallet is not None
    path = f"/wallets/{alice.wallet.pk}/export"
    follow(followed)
    first = alice.get(path)
    there = connections[replica.ALIAS]
    assert there.in_atomic_block
    assert [alice.get(path).status_code, first.status_code] == [429, 200]
    # It is not read: the server closes it.
    for close in first._resource_closers:
        close()
    assert (there.in_atomic_block, connection.in_atomic_block, connection.alias) == (False, False, "default")
    assert alice.get(path).getvalue().count(b"\n") > 1
    assert not there.in_atomic_block


def test_a_transaction_of_the_primary_reads_its_own_rows(followed: Standby, ledger: SimpleNamespace) -> None:
    follow(followed)
    with transaction.atomic():
        assert replica.read(lambda found: (found, connection.alias)) == (None, "default")
    with replicas.statements() as executed:
        assert replica.read(lambda found: replica.read(lambda inner: connection.alias)) == "replica"
        # What narrows the statements of a question does not narrow that about the state of the replica.
        executed.clear()
        replica.state()
        assert executed == []
    assert connection.alias == "default"


# --- a replica that is away, too far behind, or another server's -----------------------------------


def test_an_idle_primary_is_no_lag(followed: Standby, ledger: SimpleNamespace) -> None:
    follow(followed)
    first = replica.state()
    # Nothing is written but the row of each second.
    EventPosition.objects.update(at=first.as_of.replace(year=first.as_of.year - 1))
    followed.catch_up()
    with pytest.raises(replica.TooFarBehind):
        replica.state()
    follow(followed)
    assert replica.state().lag_seconds < 60
    assert replica.state().as_of > first.as_of
    # The clock of one of both is wrong.
    EventPosition.objects.update(at=first.as_of.replace(year=first.as_of.year + 1))
    followed.catch_up()
    with pytest.raises(replica.TooFarBehind):
        replica.state()
    EventPosition.objects.all().delete()
    followed.catch_up()
    with pytest.raises(replica.Unusable, match="has no position that beat has published"):
        replica.state()


def test_without_the_replica_the_primary_answers_and_contacts_it_once_a_second(
    followed: Standby, desk: Client, ledger: SimpleNamespace, monkeypatch: pytest.MonkeyPatch
) -> None:
    follow(followed)
    assert asked(desk, WALLETS)[0] == "replica"
    followed.stop()
    tried: list[float] = []
    wrapper = connections[replica.ALIAS]
    connect = type(wrapper).connect
    monkeypatch.setattr(wrapper, "connect", lambda: (tried.append(time.monotonic()), connect(wrapper))[1])
    clock = time.monotonic()
    monkeypatch.setattr(replica, "time", SimpleNamespace(monotonic=lambda: clock, sleep=time.sleep))
    for _ in range(5):
        assert asked(desk, WALLETS)[0] == "primary"
    assert len(tried) <= 1
    clock += replica.RETRY_SECONDS + 0.01
    for _ in range(5):
        assert asked(desk, WALLETS)[0] == "primary"
    assert len(tried) in {1, 2}
    followed.start()
    clock += replica.RETRY_SECONDS + 0.01
    assert asked(desk, WALLETS)[0] == "replica"


def test_one_thread_at_a_time_tries_a_replica_that_was_away(settings: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    refused: list[str] = []

    def ask() -> None:
        with pytest.raises(replica.Unusable) as why:
            replica.state()
        refused.append(str(why.value))

    with socket.create_server(("127.0.0.1", 0)) as server:
        url = f"postgresql://u@127.0.0.1:{server.getsockname()[1]}/n?sslmode=disable&gssencmode=disable"
        with replicas.configured(url, settings):
            monkeypatch.setattr(replica._Pause, "until", 1.0)
            first = threading.Thread(target=ask)
            first.start()
            # It waits for an answer.
            with server.accept()[0]:
                ask()
                connected = bool(select.select([server], [], [], 0)[0])
            first.join(60)

    assert not connected

    assert refused == ["does not answer"] * 2


def test_a_statement_that_the_log_cancels_is_repeated_on_the_primary(followed: Standby, ledger: Any) -> None:
    follow(followed)
    asked_of: list[str] = []
    reads, errors_seen = threading.Event(), []

    def question(found: replica.Reading | None) -> int:
        asked_of.append(connection.alias)
        with transaction.atomic():
            count = Wallet.objects.count()
            if found is not None:
                reads.set()
                with connection.cursor() as cursor:
                    cursor.execute("SELECT pg_sleep(60)")
        return count

    def lock() -> None:
        try:
            assert reads.wait(60)
            with transaction.atomic(), connection.cursor() as cursor:
                cursor.execute("LOCK TABLE wallets_wallet IN ACCESS EXCLUSIVE MODE")
        except Exception as error:  # noqa: BLE001 - asserted below
            errors_seen.append(error)
        finally:
            connections.close_all()

    thread = threading.Thread(target=lock)
    thread.start()
    answer = replica.read(question)
    thread.join()
    assert errors_seen == []
    assert (answer, asked_of) == (Wallet.objects.count(), ["replica", "default"])
    # It is cancelled, not gone.
    assert replica.read(lambda found: connection.alias) == "replica"


def test_a_statement_that_takes_too_long_is_not_repeated(followed: Standby, ledger: Any) -> None:
    follow(followed)
    asked_of: list[str] = []

    def question(found: replica.Reading | None) -> None:
        asked_of.append(connection.alias)
        with transaction.atomic(), connection.cursor() as cursor:
            cursor.execute("SET LOCAL statement_timeout = 1")
            cursor.execute("SELECT pg_sleep(60)")

    with pytest.raises(Exception, match="statement timeout"):
        replica.read(question)
    assert asked_of == ["replica"]
    assert connection.alias == "default"


def test_a_server_that_is_no_standby_of_the_primary_is_not_read(
    standby: Standby, settings: Any, transactional_db: None
) -> None:
    where = connection.settings_dict
    primary = f"postgresql://{where['USER']}@/{where['NAME']}?host={where['HOST']}"
    for url, why in (
        (primary, "is not a standby server"),
        (standby.url("postgres"), "is the standby of another server than that of DATABASE_URL"),
    ):
        with replicas.configured(url, settings):
            with pytest.raises(replica.Unusable, match=f"^{why}$"):
                replica.state()
            assert replica.read(lambda found: connection.alias) == "default"


# --- audits ----------------------------------------------------------------------------------------


def test_an_audit_reads_the_replica_and_is_alone_on_the_primary(
    followed: Standby, ledger: SimpleNamespace, monkeypatch: pytest.MonkeyPatch
) -> None:
    sealing.seal(is_due=True)
    follow(followed)
    seen: list[tuple[str, bool]] = []
    inner = audits._findings

    def noted(cursor: Any, *, is_of_all: bool) -> Any:
        if cursor.db.alias == replica.ALIAS:
            seen.append((cursor.db.alias, is_of_all))
            with pytest.raises(errors.AuditIsRunning):
                another_session(partial(audits.findings, is_of_all=is_of_all))
            with pytest.raises(errors.AuditIsRunning):
                another_session(audits.keep_out)
            # One of the other kind may run beside it.
            another_session(partial(audits.findings, is_of_all=not is_of_all))
        return inner(cursor, is_of_all=is_of_all)

    monkeypatch.setattr(audits, "_findings", noted)
    found = [audits.findings(on_replica=True, is_of_all=is_of_all) for is_of_all in (True, False)]
    assert seen == [("replica", True), ("replica", False)]
    monkeypatch.undo()
    assert found == [audits.findings(is_of_all=is_of_all) for is_of_all in (True, False)]


def another_session(act: Any) -> Any:
    """Do something in another thread, and so in another session; return or raise what it does."""
    told: list[Any] = []

    def run() -> None:
        try:
            told.append(act())
        except Exception as error:  # noqa: BLE001 - raised below
            told.append(error)
        finally:
            connections.close_all()

    thread = threading.Thread(target=run)
    thread.start()
    thread.join()
    if isinstance(told[0], Exception):
        raise told[0]
    return told[0]


def test_a_scheduled_audit_finds_what_was_committed_before_it_began(
    followed: Standby, ledger: SimpleNamespace, settings: Any, caplog: pytest.LogCaptureFixture
) -> None:
    gap = "the history of a token has no gap"
    follow(followed)
    with replicas.statements() as executed:
        assert gap not in {each["check"] for each in audits.run().findings}
    assert replicas.count_of(executed, replica.ALIAS) > 20
    assert "is audited" not in caplog.text

    settings.REPLICA_MAX_LAG = 3
    follow(followed)
    followed.pause()
    with connection.cursor() as cursor:
        cursor.execute("SET session_replication_role = replica")
        cursor.execute("UPDATE wallets_token SET moves = moves + 1 WHERE id = (SELECT id FROM wallets_token LIMIT 1)")
        cursor.execute("SET session_replication_role = origin")
    run = audits.run()
    assert run.result == AuditResult.UNSOUND
    assert gap in {each["check"] for each in run.findings}
    assert "the primary is audited, because the replica" in caplog.text
    with pytest.raises(CommandError, match=r"^Nothing was audited: the replica .*\.$"):
        call_command("audit", "--replica")


# --- what operators see ----------------------------------------------------------------------------


def test_operators_see_whether_it_is_read_and_how_far_it_is_behind(
    followed: Standby, desk: Client, ledger: SimpleNamespace, settings: Any
) -> None:
    follow(followed)
    before = request_metrics.reads()
    assert asked(desk, WALLETS)[0] == "replica"
    shown = exposed()
    assert shown["coppice_replica_up"] == 1
    assert 0 <= shown["coppice_replica_lag_seconds"] < 60
    assert request_metrics.reads() == before | {"replica": before["replica"] + 1}
    assert shown['coppice_replica_reads_total{served_by="replica"}'] == before["replica"] + 1
    assert re.fullmatch(r"\d+ s behind", doctor.CHECKS["replica"]())
    assert re.fullmatch(r"\d+ s behind", desk.get("/readyz").json()["replica"])
    assert tile().css == "good"

    EventPosition.objects.update(at=replica.state().as_of.replace(year=2020))
    followed.catch_up()
    assert asked(desk, WALLETS)[0] == "primary"
    shown = exposed()
    assert shown["coppice_replica_up"] == 0
    assert shown["coppice_replica_lag_seconds"] > 3600
    assert request_metrics.reads()["primary"] == before["primary"] + 1
    why = r"is \d+ s behind, more than COPPICE_REPLICA_MAX_LAG=3600"
    with pytest.raises(doctor.CheckFailed, match=rf"^{why}$"):
        doctor.CHECKS["replica"]()
    ready = desk.get("/readyz?without=worker")
    assert re.fullmatch(rf"{why}; the primary is read", ready.json()["replica"])
    assert (tile().css, tile().note) == ("bad", "too far; the primary is read instead")

    followed.stop()
    shown = exposed()
    assert shown["coppice_replica_up"] == 0
    assert "coppice_replica_lag_seconds" not in shown
    assert desk.get("/readyz?without=worker").json()["replica"] == "does not answer; the primary is read"
    assert (tile().css, tile().value) == ("bad", "not read")


def exposed() -> dict[str, float]:
    lines = metrics.exposition().decode().splitlines()
    found = (line.rsplit(" ", 1) for line in lines if line.startswith("coppice_replica_"))
    return {name: float(value) for name, value in found}


def tile() -> tiles.Tile:
    (found,) = tiles._replica_tile(tiles.Readings())
    return found


def test_without_a_replica_nothing_is_said_of_one(desk: Client) -> None:
    assert replica.read(lambda found: (found, connection.alias)) == (None, "default")
    assert exposed() == {}
    assert "replica" not in desk.get("/readyz").json()
    assert doctor.CHECKS["replica"]() == "none: COPPICE_REPLICA_URL is not set, and the primary is read"
    assert not [each for each in tiles.computed(tiles.Readings()) if each.key == "replica"]
    assert replica_pages.COOKIE not in desk.post("/admin/logout/").cookies
    with pytest.raises(CommandError, match="the replica is not named by COPPICE_REPLICA_URL"):
        call_command("audit", "--replica")
