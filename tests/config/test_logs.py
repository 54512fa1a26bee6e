"""Log lines are JSON, and secrets are struck out of them wherever they come from."""

import io
import json
import logging
import logging.config

import pytest
import structlog

from config import logs


@pytest.fixture
def lines():
    stream = io.StringIO()
    settings = logs.settings(level="INFO")
    handler = logging.StreamHandler(stream)
    formatter = dict(settings["formatters"]["json"])
    handler.setFormatter(formatter.pop("()")(**formatter))
    logger = logging.getLogger("tests.logs")
    logger.addHandler(handler)
    logger.setLevel("INFO")
    logger.propagate = False
    yield lambda: [json.loads(line) for line in stream.getvalue().splitlines()]
    logger.removeHandler(handler)
    logger.propagate = True


class Request:
    def __str__(self) -> str:
        return "<WSGIRequest: GET '/api/transactions/locker/peek?locker_key=HUSH-1&x=1'>"


def test_secrets_are_struck_out_of_fields_texts_objects_and_tracebacks(lines):
    log = structlog.get_logger("tests.logs")

    log.info("put", password="HUSH", transmit_code="HUSH", ans=["HUSH"], nested={"api_key": "HUSH", "count": 3})
    logging.getLogger("tests.logs").warning("sent Authorization: Bearer HUSH.x-y to %s", "redis://:HUSH@host/0")
    logging.getLogger("tests.logs").error("failed", extra={"request": Request(), "status_code": 500, "blob": b"HUSH"})
    try:
        raise ValueError("GET /peek?locker_key=HUSH was refused")
    except ValueError:
        log.exception("broke", denomination=-8)

    assert "HUSH" not in json.dumps(lines())
    put, sent, failed, broke = lines()
    assert put["nested"] == {"api_key": "[secret]", "count": 3}
    assert put["ans"] == "[secret]"
    assert sent["event"] == "sent Authorization: Bearer [secret] to redis://:[secret]@host/0"
    assert failed["request"] == "<WSGIRequest: GET '/api/transactions/locker/peek?locker_key=[secret]&x=1'>"
    assert (failed["status_code"], failed["blob"]) == (500, "<4 bytes>")
    assert broke["denomination"] == -8
    assert "ValueError: GET /peek?locker_key=[secret] was refused" in broke["exception"]


@pytest.mark.parametrize(
    ("path", "struck_out"),
    [
        ("/api/v1/locker/HUSH-1", "/api/v1/locker/[secret]"),
        ("/api/v1/locker/HUSH/HUSH?x=1", "/api/v1/locker/[secret]?x=1"),
        ("/api/v1//locker//HUSH", "/api/v1//locker//[secret]"),
        ("/api/v1/lockers/HUSH/code", "/api/v1/lockers/[secret]"),
        ("/api/v1/locker/peekHUSH", "/api/v1/locker/[secret]"),
        ("/api/v1/locker/take", "/api/v1/locker/take"),
        ("/api/v1/retrieve-coins-from-locker/HUSH", "/api/v1/retrieve-coins-from-locker/[secret]"),
        ("/api/locker/put-one-coin?x=1", "/api/locker/put-one-coin?x=1"),
        ("/api/transactions/locker/peek?locker_key=HUSH&y", "/api/transactions/locker/peek?locker_key=[secret]&y"),
        ("/api/v1/task/1", "/api/v1/task/1"),
    ],
)
def test_codes_are_struck_out_of_paths(path, struck_out):
    assert logs.strike_out_text(f'1.2.3.4 - "GET {path} HTTP/1.1" 200') == f'1.2.3.4 - "GET {struck_out} HTTP/1.1" 200'


def test_what_a_client_did_wrong_is_no_warning_and_what_was_told_already_is_not_told_twice(client, db):
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
