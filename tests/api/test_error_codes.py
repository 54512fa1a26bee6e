"""Every error response names a code of the table, and `/docs/errors` documents each."""

import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from django.test import Client
from django.urls import get_resolver

from config.api import error_codes, errors
from config.api.domain_error_codes import BY_CLASS
from config.api.error_codes import CODES, ErrorCode, Where
from config.api.treetracker import v2
from config.web import cors
from tests.api.caller import Caller, answer, refusal
from tests.api.endpoints import endpoints
from tests.support.error_codes import check
from tests.support.requests_over_sockets import answered
from wallets.errors import DomainError

# By a fixture, or without `subprocess` (tests/parts.py).
OF_SYSTEMS = True

PUBLISHED = Path(__file__).parent / "data" / "error_codes.txt"
CONFIG = Path(error_codes.__file__).parents[1]
# Bases, which are not raised.
BASES = {"LockerError", "ServersDisagreed"}
# Described at each endpoint of a dialect, by `config.api.openapi` itself, and not by its own description.
AT_EVERY_ENDPOINT = {"idempotency_key_in_use", "lockers_off"}
# Of a row of a batch alone, or of a request whose API key ends while it is processed.
NOT_DESCRIBED = {"batch_row_invalid"}


def all_subclasses(kind: Any) -> Iterator[Any]:
    for each in kind.__subclasses__():
        yield each
        yield from all_subclasses(each)


def test_every_domain_error_has_a_row_of_its_own() -> None:
    missing = {kind.__name__ for kind in all_subclasses(DomainError)} - {kind.__name__ for kind in BY_CLASS}

    assert missing == BASES
    assert all(issubclass(kind, DomainError) for kind in BY_CLASS)
    assert len(set(BY_CLASS.values())) == len(BY_CLASS)


@pytest.mark.parametrize("code", CODES.values(), ids=CODES)
def test_a_row_is_whole(code: ErrorCode) -> None:
    assert re.fullmatch(r"[a-z]+(_[a-z]+)*", code.name)
    assert {status // 100 for status in errors.statuses(code)} <= {4, 5}
    assert not code.title.endswith(".")
    assert re.fullmatch(r"[A-Z].*[.…]", code.cause)
    assert re.fullmatch(r"[A-Z].*[.…]", code.cure)


def test_no_two_rows_say_the_same_and_none_is_unused() -> None:
    source = "".join(
        path.read_text() for path in CONFIG.rglob("*.py") if path.name not in {"error_codes.py", "openapi.py"}
    )
    constants = {name: each for name, each in vars(error_codes).items() if isinstance(each, ErrorCode)}

    assert [name for name in constants if f"codes.{name}" not in source] == []
    assert {*constants.values(), *BY_CLASS.values()} == set(CODES.values())
    for words in ("title", "cause"):
        assert len({getattr(code, words) for code in CODES.values()}) == len(CODES), words


def test_a_published_code_keeps_its_name() -> None:
    """A new code adds a line to the file. A line that is removed breaks clients that compare the code."""
    published = PUBLISHED.read_text(encoding="utf-8").split()

    assert published == sorted(CODES)


def test_the_table_names_the_paths_that_answer_with_an_error() -> None:
    described: dict[str, set[Where]] = {}
    for _, path, action in endpoints(get_resolver()):
        for each in action.refusals:  # type: ignore[attr-defined]
            if isinstance(each, DomainError) and (code := errors.code_of(each)) is not None:
                found = Where.LOCKERS if errors.is_locker_path(path) else Where.TREETRACKER
                described.setdefault(code.name, set()).add(found)

    named = {code.name: code.where for code in BY_CLASS.values() if code.where is not Where.OPERATORS}
    both = {Where.TREETRACKER, Where.LOCKERS}
    assert {
        name: found
        for name, found in described.items()
        if found != (both if named[name] is Where.ALL else {named[name]})
    } == {}
    assert named.keys() - described.keys() == AT_EVERY_ENDPOINT | NOT_DESCRIBED


def test_the_page_documents_each_code_under_its_anchor() -> None:
    response = Client().get("/docs/errors")
    page = response.content.decode()

    entries = dict(re.findall(r'<article class="panel" id="(\w+)">(.*?)</article>', page, re.DOTALL))
    assert list(entries) == [code.name for where in Where for code in CODES.values() if code.where is where]
    assert len(re.findall(r' id="', page)) == len(CODES) + len({"header", "site-name", "content"})
    for name, entry in entries.items():
        code, text = CODES[name], re.sub(r"<[^>]*>", "", entry).replace("&#x27;", "'").replace("&quot;", '"')
        assert all(part in text for part in (name, code.title, code.cause, code.cure)), name
        shown = {
            int(each)
            for each in re.findall(r"\b[45]\d\d\b", "".join(re.findall(r"<dt>Status</dt><dd>(.*?)</dd>", entry)))
        }
        assert shown == (set() if code.where is Where.OPERATORS else errors.statuses(code)), name


def test_the_page_takes_everything_from_this_server_and_needs_no_script() -> None:
    response = Client().get("/docs/errors/")
    page = response.content.decode()

    assert "default-src 'none'" in response["Content-Security-Policy"]
    assert not re.search(r"<style|<script| style=| on\w+=|https?://", page)
    assert Client().post("/docs/errors").status_code == 405


def codes(*responses: Any) -> list[tuple[int, str]]:
    return [(each.status_code, each["Error-Code"]) for each in responses]


def test_an_error_names_its_code_and_its_entry_and_has_the_body_of_before(alice: Caller) -> None:
    response = alice.get("/wallets?limit=0")

    assert answer(response) == refusal(422, '"limit" must be greater than or equal to 1')
    assert response["Error-Code"] == "invalid_value"
    assert response["Link"] == '</docs/errors#invalid_value>; rel="help"'
    assert "Error-Code" not in alice.get("/wallets?limit=1")


def test_the_entry_is_named_by_the_public_url_if_there_is_one(alice: Caller, settings: Any) -> None:
    settings.PUBLIC_URL, settings.PATH_PREFIX = "https://trees.example/ledger", "/ledger"

    link = alice.get("/nope")["Link"]

    assert link == '<https://trees.example/ledger/docs/errors#path_unknown>; rel="help"'


def test_one_status_has_several_codes(alice: Caller, api_key: str) -> None:
    anyone, no_bearer = Caller(), Caller(api_key)
    found = codes(
        anyone.get("/wallets?limit=1"),
        Caller("unknown").get("/wallets?limit=1"),
        no_bearer.get("/wallets?limit=1"),
        Caller(api_key, "unknown").get("/wallets?limit=1"),
        no_bearer.get("/wallet/v2/wallets?limit=1"),
        Caller(api_key, "unknown").get("/wallet/v2/wallets?limit=1"),
        anyone.get("/api/v1/wallets"),
        Caller(bearer="unknown").get("/api/v1/wallets"),
        alice.post("/wallets", {"wallet": "alice"}),
        alice.post("/wallet/v2/wallets", {"wallet": "alice"}),
        alice.post("/wallets", {"wallet": "al"}),
        alice.post("/wallets", b"{"),
        alice.post("/wallets", {}, content_type="text/plain"),
        alice.send("PUT", "/wallets", {}),
        alice.get("/wallets?limit=1&cursor=x"),
        alice.post("/auth", {"wallet": "alice", "password": "wrong"}),
        alice.get("/nope"),
        alice.get("/api/nope"),
    )

    assert found == [
        (401, "api_key_missing"),
        (401, "api_key_invalid"),
        (403, "bearer_token_missing"),
        (403, "bearer_token_invalid"),
        (401, "bearer_token_missing"),
        (401, "bearer_token_invalid"),
        (401, "bearer_token_missing"),
        (401, "bearer_token_invalid"),
        (403, "wallet_name_taken"),
        (409, "wallet_name_taken"),
        (422, "wallet_name_length"),
        (400, "malformed_json"),
        (415, "content_type_unsupported"),
        (405, "method_not_allowed"),
        (422, "cursor_invalid"),
        (401, "credentials_invalid"),
        (404, "path_unknown"),
        (404, "path_unknown"),
    ]


def test_a_code_does_not_tell_apart_what_the_text_does_not(alice: Caller, bob: Caller) -> None:
    unknown = "00000000-0000-4000-8000-000000000000"
    for path, send in (
        ("/wallet/v2/wallets/{}", "patch"),
        ("/wallet/v2/wallets/{}/trust_relationships?limit=1", "get"),
    ):
        arguments = [{"about": "A wallet"}] if send == "patch" else []
        responses = [getattr(alice, send)(path.format(each), *arguments) for each in (bob.wallet.pk, unknown)]

        assert codes(*responses) == [(422, "wallet_not_controlled")] * 2
        assert responses[0].content == responses[1].content


def test_a_repeated_refusal_has_the_headers_of_the_first(alice: Caller) -> None:
    first, again = (alice.post("/wallets", {"wallet": "alice"}, idempotency_key="k") for _ in range(2))
    created = alice.post("/wallets", {"wallet": "sapling"}, idempotency_key="l")
    other = alice.post("/wallets", {"wallet": "seedling"}, idempotency_key="l")

    assert created.status_code == 200
    assert codes(first, again, other) == [(403, "wallet_name_taken")] * 2 + [(422, "idempotency_key_reused")]
    assert first["Link"] == again["Link"]
    assert codes(alice.post("/wallets", {"wallet": "x"}, idempotency_key="\x7f")) == [(422, "idempotency_key_invalid")]


def test_the_web_server_names_the_code_of_what_it_refuses_itself(address: str) -> None:
    def sent(*lines: str, body: bytes = b"") -> bytes:
        return "\r\n".join([*lines, "Host: localhost", "Connection: close", "", ""]).encode() + body

    found = []
    for request in (
        sent(
            "POST /wallets HTTP/1.1", "Content-Type: application/json", "Content-Type: text/plain", "Content-Length: 0"
        ),
        sent("POST /api/v1/import HTTP/1.1", "Content-Length: 99999999"),
        sent("POST /wallets HTTP/1.1", "Content-Encoding: br", "Content-Length: 2", body=b"{}"),
        sent("POST /wallets HTTP/1.1", "Content-Encoding: gzip", "Content-Length: 2", body=b"{}"),
    ):
        status, headers, _ = answered(address, request)
        found.append((status, headers["error-code"], headers["link"]))

    assert found == [
        (status, name, f'</docs/errors#{name}>; rel="help"')
        for status, name in (
            (400, "header_invalid"), (413, "body_too_large"), (415, "content_encoding_unsupported"),
            (400, "malformed_request"),
        )
    ]  # fmt: skip


def test_the_web_server_refuses_with_problem_details_where_the_endpoints_do(address: str) -> None:
    lines = ["GET /webhooks HTTP/1.1", "Authorization: Bearer a", "Authorization: Bearer b", "Host: localhost", "", ""]

    status, headers, body = answered(address, "\r\n".join(lines).encode())

    assert (status, headers["content-type"]) == (400, "application/problem+json")
    assert json.loads(body)["code"] == headers["error-code"] == "header_invalid"
    assert json.loads(body)["instance"] == headers["x-request-id"]


def test_pages_of_other_origins_may_read_the_headers() -> None:
    assert {"Error-Code", "Link"} <= set(cors.EXPOSED)


@pytest.mark.parametrize(
    "headers",
    [
        {},
        {"error-code": "nope", "link": '</docs/errors#nope>; rel="help"'},
        {"error-code": "path_unknown"},
        {"error-code": "invalid_value", "link": '</docs/errors#invalid_value>; rel="help"'},
    ],
)
def test_the_check_of_all_responses_finds_what_is_wrong(headers: dict[str, str]) -> None:
    with pytest.raises(AssertionError, match="/wallets answers"):
        check("/wallets", 404, {"x-request-id": "a", **headers})


def test_the_statuses_below_v2_are_those_of_its_table() -> None:
    for kind, code in BY_CLASS.items():
        later = errors.later_statuses(code)
        assert not later or (v2.status_of(kind) or code.status) == later[0], code.name
