"""The request log: what is recorded, when the database is away, and how old rows leave."""

import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import UUID

import pytest
from django.conf import LazySettings
from django.db import OperationalError, connection
from django.test import Client

from config.admin.models import Request
from config.ops import access_log, metrics, request_log
from tests.api.caller import logged_in
from wallets import operations, redis_servers

pytestmark = pytest.mark.django_db(transaction=True)
TODAY = datetime.now(UTC).date()
LINE = {"request_id": "one", "method": "GET", "route": "/wallets", "status": 200, "ms": 1.5, "client": "192.0.2.7"}


@pytest.fixture(autouse=True)
def emptied(settings: LazySettings) -> Iterator[None]:
    """No partition, and no count of lost requests, before and after."""

    def empty() -> None:
        with connection.cursor() as cursor:
            for day in days():
                cursor.execute(f"DROP TABLE desk_request_{day}")
        redis_servers.client(settings.REDIS_URL).delete(request_log.LOST_KEY)

    empty()
    yield
    request_log.end(patience_seconds=60)
    empty()


def days() -> list[str]:
    with connection.cursor() as cursor:
        cursor.execute(
            "SELECT relid::text FROM pg_partition_tree('desk_request') WHERE isleaf AND level = 1 ORDER BY 1"
        )
        return [name.rpartition("_")[2] for (name,) in cursor.fetchall()]


def day(after: int) -> str:
    return f"{TODAY + timedelta(days=after):%Y%m%d}"


def idle_writer(most: int = request_log.QUEUE) -> request_log.Writer:
    """A writer whose thread sleeps, so that the test writes."""
    return request_log.Writer(seconds=3600, most=most)


def lost_by_metrics() -> str:
    lines = metrics.exposition().decode().splitlines()
    line = next(line for line in lines if line.startswith("coppice_requests_not_recorded_total"))
    return line.partition(" ")[2]


def test_a_request_is_recorded_with_the_fields_of_its_log_line_and_nothing_else() -> None:
    key, plain = operations.create_api_key(name="partner")
    caller = logged_in("alice", plain)
    before = datetime.now(UTC)
    request_log.begin()

    caller.get("/wallets?limit=1&name=secret-in-a-query", x_request_id="asked-for-4711")
    caller.get("/tokens/secret-in-a-path", x_request_id="\\N\t")
    Client().get("/static/admin/css/base.css").close()
    Client().post("/auth", {"wallet": "alice", "password": "secret"}, content_type="application/json")
    request_log.end(patience_seconds=60)

    good, bad, stranger = Request.objects.order_by("id")
    assert (good.request_id, good.method, good.route, good.status) == ("asked-for-4711", "GET", "/wallets", 200)
    assert (good.api_key_id, good.wallet_id, good.client, good.error) == (key.pk, caller.wallet.pk, "127.0.0.1", "")
    assert before < good.at < datetime.now(UTC)
    assert good.milliseconds > 0
    assert (bad.route, bad.status >= 400, bad.error != "") == ("/tokens/{token_id}", True, True)
    assert len(bad.request_id) == 16
    assert (stranger.status, stranger.error, stranger.api_key_id) == (401, "api_key_missing", None)
    with connection.cursor() as cursor:
        cursor.execute("SELECT string_agg(row::text, ' ') FROM desk_request AS row")
        assert "secret" not in cursor.fetchone()[0]
    assert days() == [day(0)]


def test_without_a_writer_and_switched_off_nothing_is_recorded(settings: LazySettings) -> None:
    Client().get("/livez")
    settings.REQUEST_LOG_DAYS = 0
    request_log.begin()
    Client().get("/livez")
    request_log.end(patience_seconds=60)

    assert not Request.objects.exists()


def test_a_full_queue_counts_and_the_database_is_not_waited_for() -> None:
    writer = idle_writer(most=3)
    for number in range(5):
        writer.take(LINE | {"request_id": f"{number}"})
    # A reader of the schema keeps the table locked.
    is_locked, may_go = threading.Event(), threading.Event()

    def hold() -> None:
        try:
            with connection.cursor() as cursor:
                cursor.execute("BEGIN; LOCK TABLE desk_request IN ACCESS EXCLUSIVE MODE")
                is_locked.set()
                may_go.wait(60)
                cursor.execute("COMMIT")
        finally:
            connection.close()

    request_log.create_partitions([TODAY])
    with ThreadPoolExecutor(1) as pool:
        held = pool.submit(hold)
        assert is_locked.wait(60)
        with connection.cursor() as cursor:
            cursor.execute("SET lock_timeout = '50ms'; SET statement_timeout = '20s'")
        writer._looked_at = time.monotonic()
        writer.write()
        assert [line["request_id"] for _, line in writer._entries] == ["0", "1", "2"]
        writer.take(LINE)
        may_go.set()
        held.result(60)
    connection.close()

    writer.write()
    writer.stop(patience_seconds=60)

    assert Request.objects.count() == 3
    assert request_log.lost() == {TODAY: 3}
    assert lost_by_metrics() == "3.0"


def test_a_text_that_copy_would_read_otherwise_is_left_out() -> None:
    writer = idle_writer()
    for text in ("first", r"a\tb", r"\N", r"\.", "a\tb", "a\nb", "é", "last"):
        writer.take(LINE | {"request_id": text})

    writer.write()

    stored = list(Request.objects.order_by("id").values_list("request_id", flat=True))
    assert stored == ["first", "", "", "", "", "", "é", "last"]
    writer.stop(patience_seconds=60)


def test_what_was_lost_is_counted_once_redis_answers(settings: LazySettings) -> None:
    writer = idle_writer(most=1)
    for _ in range(3):
        writer.take(LINE)
    url, settings.REDIS_URL = settings.REDIS_URL, "redis://127.0.0.1:1/0"
    writer._report_lost()
    settings.REDIS_URL = url

    writer._report_lost()
    writer._report_lost()

    assert request_log.lost() == {TODAY: 2}
    writer._entries.clear()
    writer.stop(patience_seconds=60)


def test_what_the_database_has_not_taken_when_a_process_stops_is_counted(monkeypatch: pytest.MonkeyPatch) -> None:
    writer = idle_writer()
    for _ in range(3):
        writer.take(LINE)
    with monkeypatch.context() as patch:
        # The thread of the writer, which opens its connection now, reaches no database.
        patch.setitem(connection.settings_dict, "HOST", "/nowhere")
        writer.stop(patience_seconds=60)

    assert not Request.objects.exists()
    assert request_log.lost() == {TODAY: 3}


def test_rows_of_the_same_moment_and_rows_that_are_sent_again_are_there_once(monkeypatch: pytest.MonkeyPatch) -> None:
    writer = idle_writer()
    now = time.time_ns()
    monkeypatch.setattr(time, "time_ns", lambda: now)
    for _ in range(3):
        writer.take(LINE)
    rows = [writer._row(*entry) for entry in writer._entries]
    request_log._write(rows[:2])
    # Its answer was lost, so it is sent again, with one more.
    request_log._write(rows)

    assert [row.id for row in Request.objects.order_by("id")] == [row[0] for row in rows]
    assert len({row[0] for row in rows}) == 3
    writer._entries.clear()
    writer.stop(patience_seconds=60)


def test_a_clock_that_is_corrected_does_not_keep_later_rows_in_the_future() -> None:
    writer = idle_writer()
    now = time.time_ns()
    ahead, back, again = (writer._row(at, LINE)[0] for at in (now + 10**15, now, now - 1000))

    assert request_log.time_of(ahead) - request_log.time_of(back) > timedelta(days=11)
    assert again == back + 1
    writer.stop(patience_seconds=60)


def test_each_value_of_a_line_goes_to_its_column_and_fits_there() -> None:
    writer = idle_writer()
    whole = LINE | {
        "method": "PATCH", "route": "/r" * 101, "status": 404, "ms": 2.25, "client": "c" * 46, "user": 3,
        "api_key": UUID(int=1), "wallet": UUID(int=2), "restricted_key": UUID(int=4), "error": "not_found",
    }  # fmt: skip
    for line in (whole, LINE | {"error": None}, LINE):
        writer.take(line)
    writer.write()
    writer.stop(patience_seconds=60)

    with connection.cursor() as cursor:
        cursor.execute(
            "SELECT request_id, method, route, status, milliseconds, client, api_key_id, wallet_id, user_id,"
            " restricted_key_id, error FROM desk_request ORDER BY id"
        )
        rows = cursor.fetchall()
    plain = ("one", "GET", "/wallets", 200, 1.5, "192.0.2.7", None, None, None, None, "")
    assert rows == [
        ("one", "PATCH", "/r" * 100, 404, 2.25, "c" * 45, UUID(int=1), UUID(int=2), 3, UUID(int=4),
         "not_found"),
        plain,
        plain,
    ]  # fmt: skip
    assert request_log.lost() == {}


def test_the_size_is_looked_at_once_in_a_while_and_days_leave_only_if_there_is_no_room(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    now, asked = [1000.0], list[str]()

    def answers(name: str, *, is_so: bool) -> None:
        def ask() -> bool:
            asked.append(name)
            return is_so

        monkeypatch.setattr(request_log, name, ask)

    monkeypatch.setattr("config.ops.request_log.time.monotonic", lambda: now[0])
    answers("_has_room", is_so=True)
    answers("tidy", is_so=True)
    writer = idle_writer()
    for seconds, has_room, has_after, then in (
        (0, True, True, ["_has_room"]),
        (request_log._SIZE_SECONDS - 1, False, False, []),
        (1, False, True, ["_has_room", "tidy"]),
        (request_log._SIZE_SECONDS, False, False, ["_has_room", "tidy"]),
        (request_log._SIZE_SECONDS, True, False, ["_has_room"]),
    ):
        now[0] += seconds
        asked.clear()
        answers("_has_room", is_so=has_room)
        answers("tidy", is_so=has_after)
        writer._look_at_size()
        assert asked == then, now
        if then:
            assert writer._has_room is (has_room or has_after)
    writer.stop(patience_seconds=60)


def test_a_row_that_cannot_be_stored_is_counted_and_the_next_ones_are_written() -> None:
    writer = idle_writer()
    writer.take(LINE | {"status": 10**6})
    writer.write()
    writer.take(LINE | {"client": "a\tb\\N\nc" * 20, "request_id": None})
    writer.write()
    writer.stop(patience_seconds=60)

    row = Request.objects.get()
    assert (row.client, row.request_id, row.status) == ("", "", 200)
    assert request_log.lost() == {TODAY: 1}


def test_the_oldest_are_lost_if_the_queue_fills_while_the_database_refuses(monkeypatch: pytest.MonkeyPatch) -> None:
    writer = idle_writer(most=3)

    def refuse(rows: object) -> None:
        for number in (3, 4):
            writer.take(LINE | {"request_id": f"{number}"})
        raise OperationalError("away")

    for number in (0, 1, 2):
        writer.take(LINE | {"request_id": f"{number}"})
    with monkeypatch.context() as patch:
        patch.setattr(request_log, "_write", refuse)
        writer.write()
    assert [line["request_id"] for _, line in writer._entries] == ["2", "3", "4"]
    writer.stop(patience_seconds=60)
    assert request_log.lost() == {TODAY: 2}


def test_rows_whose_partition_is_not_made_are_counted(monkeypatch: pytest.MonkeyPatch) -> None:
    made: list[set[Any]] = []
    monkeypatch.setattr(request_log, "create_partitions", made.append)
    writer = idle_writer()
    writer.take(LINE)
    writer.write()
    writer.stop(patience_seconds=60)

    assert len(made) == 1
    assert request_log.lost() == {TODAY: 1}


def test_partitions_are_made_ahead_and_dropped_by_day(settings: LazySettings) -> None:
    settings.REQUEST_LOG_DAYS = 3
    request_log.create_partitions(TODAY + timedelta(days=after) for after in (-400, -3, -2, -1))

    assert request_log.tidy()
    assert days() == [day(after) for after in (-2, -1, 0, 1, 2)]
    # The end of a day and the begin of the next.
    begin = datetime(TODAY.year, TODAY.month, TODAY.day, tzinfo=UTC)
    for at in (begin, begin - timedelta(microseconds=1)):
        Request.objects.create(
            id=request_log.first_id(at), method="GET", route="/", status=200, milliseconds=1, request_id=f"{at:%d}"
        )
    with connection.cursor() as cursor:
        cursor.execute("SELECT tableoid::regclass::text FROM desk_request ORDER BY id")
        assert [name for (name,) in cursor.fetchall()] == [f"desk_request_{day(-1)}", f"desk_request_{day(0)}"]
    assert [row.at for row in Request.objects.order_by("-id")] == [begin, begin - timedelta(microseconds=1)]

    settings.REQUEST_LOG_DAYS = 0
    request_log.tidy()
    assert days() == []


def test_a_log_that_is_too_large_loses_its_oldest_days_and_then_records_no_more(settings: LazySettings) -> None:
    request_log.tidy()
    request_log.create_partitions(TODAY + timedelta(days=after) for after in (-2, -1))
    # Each partition has empty indexes of some pages: the limit is below them.
    settings.REQUEST_LOG_MEGABYTES = 0

    assert not request_log.tidy()
    assert days() == [day(after) for after in (0, 1, 2)]

    writer = idle_writer()
    writer.take(LINE)
    writer.write()
    writer.stop(patience_seconds=60)
    assert not Request.objects.exists()
    assert request_log.lost() == {TODAY: 1}


def test_processes_that_make_a_partition_at_the_same_time_make_one() -> None:
    begins = threading.Barrier(4)

    def make() -> None:
        try:
            connection.ensure_connection()
            begins.wait(60)
            request_log.create_partitions([TODAY])
        finally:
            connection.close()

    with ThreadPoolExecutor(4) as pool:
        for made in [pool.submit(make) for _ in range(4)]:
            made.result(60)
    assert days() == [day(0)]


def test_a_batch_of_two_days_without_partitions_makes_both() -> None:
    writer = idle_writer()
    midnight = datetime(TODAY.year, TODAY.month, TODAY.day, tzinfo=UTC)
    at = [midnight + timedelta(seconds=seconds) for seconds in (-1, 1)]
    request_log._write([writer._row(round(each.timestamp() * 1e6) * 1000, LINE) for each in at])
    writer.stop(patience_seconds=60)

    assert [row.at.date() for row in Request.objects.order_by("id")] == [each.date() for each in at]
    assert days() == [day(-1), day(0)]
    assert request_log.lost() == {}


def test_a_list_that_is_read_does_not_hold_up_the_dropping_of_days(settings: LazySettings) -> None:
    """The drop gives up after half a second, and a later run drops the day."""
    settings.REQUEST_LOG_DAYS = 1
    request_log.create_partitions([TODAY - timedelta(days=5)])
    is_read, may_go = threading.Event(), threading.Event()

    def read() -> None:
        try:
            with connection.cursor() as cursor:
                cursor.execute("BEGIN")
                cursor.execute("SELECT count(*) FROM desk_request")
                is_read.set()
                may_go.wait(60)
                cursor.execute("COMMIT")
        finally:
            connection.close()

    with ThreadPoolExecutor(1) as pool:
        reading = pool.submit(read)
        assert is_read.wait(60)
        request_log.tidy()
        assert day(-5) in days()
        may_go.set()
        reading.result(60)
    request_log.tidy()
    assert days() == [day(after) for after in (0, 1, 2)]


def test_the_line_of_the_access_log_is_the_only_source(monkeypatch: pytest.MonkeyPatch) -> None:
    recorded: list[Any] = []
    monkeypatch.setattr(request_log, "record", recorded.append)
    Client().get("/livez", headers={"X-Request-Id": "once"})

    assert [(line["request_id"], line["route"]) for line in recorded] == [("once", "/livez")]


def test_what_reached_no_view_is_recorded_if_it_was_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    recorded: list[Any] = []
    monkeypatch.setattr(request_log, "record", recorded.append)
    for route, status in ((access_log.NO_ROUTE, 200), (access_log.NO_ROUTE, 399), (access_log.NO_ROUTE, 400),
                          (access_log.NO_ROUTE, 503), ("/wallets", 200), ("/wallets", 404)):  # fmt: skip
        access_log.write(request_id="x", method="GET", route=route, status=status, seconds=0.0, client="192.0.2.7")

    assert [(line["route"], line["status"]) for line in recorded] == [
        (access_log.NO_ROUTE, 400), (access_log.NO_ROUTE, 503), ("/wallets", 200), ("/wallets", 404),
    ]  # fmt: skip
