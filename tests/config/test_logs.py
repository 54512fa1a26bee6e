"""Log lines are JSON, and hold what their fields and their origin allow, never what a client or a server wrote."""

import ast
import io
import json
import logging
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import psycopg
import pytest
from django.db import IntegrityError, connection
from django.test import Client

from config.dev.embedded import ROOT
from config.ops import access_log, logs
from tests.api.caller import Caller, logged_in
from trusts import restricted_keys
from wallets import operations

# Each printable character of ASCII, between words that can be found in any form of it.
SECRET = "HUSH " + "".join(map(chr, range(0x20, 0x7F))) + " HUSH"


@pytest.fixture
def lines() -> Iterator[Any]:
    stream = io.StringIO()
    handler = logging.StreamHandler(stream)
    handler.setFormatter(logs.JsonFormatter())
    root = logging.getLogger()
    root.addHandler(handler)
    yield lambda: [json.loads(line) for line in stream.getvalue().splitlines()]
    root.removeHandler(handler)


def sources() -> Iterator[tuple[Path, ast.Module]]:
    for package in logs.OWN[1:]:
        for path in sorted((ROOT / package).rglob("*.py")):
            yield path, ast.parse(path.read_text())


def test_every_message_of_ours_is_a_constant_and_every_field_is_one_that_may_be_logged() -> None:
    calls = 0
    for path, tree in sources():
        for node in ast.walk(tree):
            if not isinstance(node, ast.Call) or not isinstance(node.func, ast.Attribute):
                continue
            logger, method = node.func.value, node.func.attr
            is_log = isinstance(logger, ast.Name) and logger.id in {"log", "_log", "access"}
            is_log |= isinstance(logger, ast.Call) and "getLogger" in ast.dump(logger.func)
            if not is_log or method not in {"debug", "info", "warning", "error", "exception", "critical", "log"}:
                continue
            calls += 1
            where = f"{path}:{node.lineno}"
            assert isinstance(node.args[0], ast.Constant), where
            for keyword in node.keywords:
                if keyword.arg == "extra":
                    assert isinstance(keyword.value, ast.Dict), where
                    assert {key.value for key in keyword.value.keys} <= logs.FIELDS, where
    assert calls >= 10


def test_what_a_library_logs_is_its_template_with_numbers_and_names_of_classes(lines: Any) -> None:
    log = logging.getLogger("a.library")
    log.warning("Not Found: %s (%d) after %r: %s", SECRET, 404, SECRET.encode(), ValueError(SECRET))
    log.warning(
        "Task %(name)s[%(id)s]: %(exc)s", {"name": "lockers.run", "id": "an-id", "exc": SECRET, "args": [SECRET]}
    )
    log.warning(f"put together: {SECRET}")  # noqa: G004
    log.warning("HUSH and " + SECRET.replace("%", "") + "%s", 1)  # noqa: G003
    log.warning("a constant")
    log.warning(ValueError(SECRET))
    log.warning(
        "fields", extra={"data": {"kwargs": SECRET}, "request": SECRET, "status_code": 400, "error": ValueError(SECRET)}
    )

    found = lines()
    assert "HUSH" not in json.dumps(found)
    assert [line["event"] for line in found] == [
        "Not Found: … (404) after '…': ValueError",
        "Task lockers.run[an-id]: …",
        "(text left out)",
        "(text left out)",
        "a constant",
        "(text left out)",
        "fields",
    ]
    assert found[0]["place"].startswith("tests/config/test_logs.py:")
    assert {"status_code": 400, "error": "ValueError"}.items() <= found[6].items()
    assert not {"data", "request"} & found[6].keys()


def test_a_constant_of_the_module_is_one_too(lines: Any) -> None:
    logging.getLogger("a.library").warning(TEMPLATE, SECRET)

    assert lines()[0]["event"] == "a template of … words"


TEMPLATE = "a template of %s words"


def test_an_exception_is_told_by_class_and_place_and_never_by_what_it_says(lines: Any) -> None:
    def fail() -> None:
        local = SECRET
        raise ExceptionGroup(local, [OSError(2, local, local), KeyError(local)])

    try:
        try:
            fail()
        except ExceptionGroup as error:
            raise UnicodeDecodeError("utf-8", SECRET.encode(), 0, 1, SECRET) from error
    except UnicodeDecodeError:
        logging.getLogger("coppice.x").exception("broke")

    (line,) = lines()
    assert "HUSH" not in json.dumps(line)
    shown = line["exception"].splitlines()
    assert shown[0] == "UnicodeDecodeError"
    assert shown[1].startswith("  tests/config/test_logs.py:")
    assert shown[2:4] == ["caused by", "ExceptionGroup"]
    assert "FileNotFoundError errno=2" in shown
    assert "KeyError" in shown


@pytest.mark.django_db
def test_of_a_refused_row_the_code_the_table_and_the_constraint_are_told(lines: Any, alice_in_the_books: None) -> None:
    with pytest.raises(IntegrityError, match="duplicate key") as refused, connection.cursor() as cursor:
        cursor.execute(
            "INSERT INTO wallets_apikey SELECT (jsonb_populate_record(each, %s)).* FROM wallets_apikey AS each", ["{}"]
        )
    assert isinstance(refused.value.__cause__, psycopg.errors.UniqueViolation)
    logging.getLogger("coppice.x").error("broke", exc_info=refused.value)

    shown = lines()[0]["exception"].splitlines()
    assert shown[0] == "django.db.utils.IntegrityError"
    assert any(
        line == "psycopg.errors.UniqueViolation sqlstate=23505 table=wallets_apikey constraint=wallets_apikey_pkey"
        for line in shown
    ), shown


@pytest.fixture
def alice_in_the_books(db: None) -> None:
    operations.create_api_key(name="partner")


# --- the line of each request


@pytest.fixture
def accesses(capfd: pytest.CaptureFixture[str]) -> Any:
    def read() -> list[dict[str, object]]:
        found = [json.loads(line) for line in capfd.readouterr().err.splitlines() if line.startswith("{")]
        return [line for line in found if line["logger"] == access_log.NAME]

    read()
    return read


@pytest.mark.django_db
def test_the_line_of_a_request_says_who_asked_what_and_what_came_of_it(accesses: Any) -> None:
    key, api_key = operations.create_api_key(name="partner")
    alice = logged_in("alice", api_key)
    accesses()

    response = alice.get("/wallet/wallets/?limit=1", x_request_id="mine")
    (line,) = accesses()

    assert response.status_code == 200
    assert {name: line[name] for name in line.keys() - {"timestamp", "ms"}} == {
        "level": "info", "logger": "coppice.access", "event": "request", "request_id": "mine", "method": "GET",
        "route": "/wallets", "status": 200, "client": "127.0.0.1", "api_key": str(key.pk),
        "wallet": str(alice.wallet.pk),
    }  # fmt: skip
    assert line["timestamp"].endswith("Z")
    assert 0 < line["ms"] < 60_000


@pytest.mark.django_db
def test_the_line_names_a_restricted_key_and_no_part_of_its_text(
    accesses: Any, capfd: pytest.CaptureFixture[str]
) -> None:
    _, api_key = operations.create_api_key(name="partner")
    alice = logged_in("alice", api_key)
    made = restricted_keys.create(actor=alice.wallet, name="shop", scopes=["tokens:read"])
    program = Caller(api_key=api_key, bearer=made.secret)
    accesses()

    assert [program.get("/tokens?limit=1").status_code, program.post("/transfers", {}).status_code] == [200, 403]
    lines = accesses()

    assert [line["restricted_key"] for line in lines] == [str(made.row.pk)] * 2
    assert not any(made.secret[:20] in str(line) for line in lines)


@pytest.mark.django_db
def test_the_line_of_a_refused_request_says_why(accesses: Any) -> None:
    key, api_key = operations.create_api_key(name="partner")
    alice = logged_in("alice", api_key)
    nothing = Caller()
    accesses()

    alice.get("/wallets/00000000-0000-4000-8000-000000000000")
    alice.post("/wallets", {"wallet": "alice"})
    alice.post("/wallets", b"{")
    alice.post("/wallets", {"wallet": 1})
    nothing.get("/wallets?limit=1")
    Caller(api_key="unknown").get("/wallets?limit=1")
    Caller(api_key=api_key, bearer="wrong").get("/wallets?limit=1")
    alice.post("/auth", {"wallet": "alice", "password": "wrong"})
    nothing.get("/nowhere/at?all=1")
    nothing.send("BREW", "/wallets")
    nothing.get("/nowhere", host="evil.example")
    nothing.get("/admin/nowhere")

    found = accesses()
    assert [(line["method"], line["route"], line["status"], line.get("error")) for line in found] == [
        ("GET", "/wallets/{wallet_id}", 404, "wallet_not_found"),
        ("POST", "/wallets", 403, "wallet_name_taken"),
        ("POST", "/wallets", 400, "malformed_json"),
        ("POST", "/wallets", 422, "invalid_value"),
        ("GET", "/wallets", 401, "api_key_missing"),
        ("GET", "/wallets", 401, "api_key_invalid"),
        ("GET", "/wallets", 403, "bearer_token_invalid"),
        ("POST", "/auth", 401, "credentials_invalid"),
        ("GET", "other", 404, "path_unknown"),
        ("OTHER", "/wallets", 405, "method_not_allowed"),
        ("GET", "other", 400, "host_not_served"),
        ("GET", "/admin/{url}", 302, None),
    ]
    assert [line.get("api_key") for line in found[5:8]] == [None, str(key.pk), str(key.pk)]


def test_what_a_client_did_wrong_is_no_warning_and_what_was_told_already_is_not_told_twice(
    client: Client, db: None
) -> None:
    lines = []
    handler = logging.Handler()
    handler.emit = lines.append
    logger = logging.getLogger("django.request")
    logger.addHandler(handler)
    try:
        client.get("/nope")
        client.get("/wallets")
        told = [record.getMessage() for record in lines]
        logger.error("Internal Server Error: /admin/", extra={"status_code": 500, "request": None})
    finally:
        logger.removeHandler(handler)

    assert told == []
    assert [record.getMessage() for record in lines] == ["Internal Server Error: /admin/"]
