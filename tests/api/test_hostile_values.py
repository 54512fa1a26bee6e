"""
Every field of every body, every parameter, with values that a parser, a number or a column cannot hold: never a 5xx,
and no status that the description does not name.

What there is to send is read from docs/openapi.json, so that a new endpoint or field is tried without a word here.
"""

import json
from collections.abc import Iterable, Iterator
from typing import Any, Final
from urllib.parse import urlencode

import pytest
from django.core.files.uploadedfile import SimpleUploadedFile
from django.db import connection
from django.test.client import BOUNDARY, MULTIPART_CONTENT, encode_multipart

from config.api.errors import content_type_of, is_problem_path
from lockers.operations import payment_requests
from tests.api.caller import PASSWORD, Caller
from tests.support.api_description import api_description
from tests.support.ledger_world import world

DOCUMENT: Final = api_description()

# As they are written in a body.
JSON_TEXTS: Final = (
    str(2**63), str(2**64), str(10**30), "-1", "0", "-0.0", "0.5", "1e308", "9" * 300,
    '"\U0010ffff"', '""', '"' + "9" * 5_000 + '"', '"1e400"', '"\u0661"', "[" * 60 + "]" * 60, "null", "[]", "{}",
)  # fmt: skip
# These are no JSON as the API takes it, and refused before anything is looked at.
NOT_JSON_TEXTS: Final = (
    "1e400", "-1e400", "NaN", "Infinity", "9" * 100_000, "[" * 40_000 + "]" * 40_000, '"\x00"',
)  # fmt: skip
NOT_TEXTS: Final = ('"\\ud800"', '"a\\u0000b"')
# Of a field in a form, and a parameter of the path or the query.
TEXTS: Final = (
    str(2**63), str(2**64), str(10**30), "-1", "0", "-0.0", "1e400", "NaN", "9" * 5_000, "1" + "0" * 99_999, "\u0661",
    "a\0b", "\U0010ffff",
)  # fmt: skip
# What text cannot carry, as written in a URL.
URL_TEXTS: Final = ("%00", "%ED%A0%80", "%FF", "%zz", "%0D%0AX: y", "%2e%2e")

# What a body holds where nothing is being tried: as good as can be, so that what is tried comes far.
GOOD: Final = {
    "wallet": "alice", "name": "alice", "srcname": "alice", "dstname": "bobby", "amount": 1, "denomination": 1,
    "type": "bin", "locker_key": "a code that opens nothing", "transmit_code": "a code that opens nothing",
    "data": "AAAA", "sender_wallet": "alice", "receiver_wallet": "bobby", "bundle_size": 1,
    "trust_request_type": "send",
    "requestee_wallet": "bobby", "count": 1, "email": "ann@example.org", "recipient_email": "ann@example.org",
    "implicit": True, "password": PASSWORD, "claim": False, "all": False,
}  # fmt: skip
# Also sent where it is not required, unless it is the one under test or another replaces it.
ALSO: Final = {"upload": {"wallet": "alice", "amount": 1}, "put-one-coin": {"wallet": "alice"}, "export": {"amount": 1}}
# With a wallet of the caller's the call would wait for a worker.
INSTEAD: Final = {"download": {"wallet": "nobody"}}
# Seed 001 answers 500 where a code opens nothing.
ANSWERS_500: Final = {"/api/transactions/locker/peek"}
# Each request to the 25 servers records whether they answer.
NOT_COMPARED: Final = ["lockers_serverhealth"]


def operations() -> Iterator[tuple[str, str, dict[str, Any]]]:
    for path, methods in DOCUMENT["paths"].items():
        for method, description in methods.items():
            # It takes no value, and ends the session of the caller.
            if (method, path) != ("delete", "/auth/token"):
                yield method.upper(), path, description


def good(name: str, schema: dict[str, Any]) -> Any:
    if "anyOf" in schema:
        return good(name, schema["anyOf"][0])
    if schema.get("type") == "object":
        wanted = schema.get("required", [])
        return {each: good(each, inner) for each, inner in schema.get("properties", {}).items() if each in wanted}
    if schema.get("type") == "array":
        return [good(name, schema["items"])]
    if schema.get("format") == "uuid":
        return "00000000-0000-4000-8000-000000000000"
    return GOOD.get(name, "some words")


def _keys(schema: dict[str, Any]) -> dict[str, Any]:
    """The properties of an object, or one of any key if it has none."""
    return schema["properties"] if "properties" in schema else {"some words": schema["additionalProperties"]}


def places(name: str, schema: dict[str, Any]) -> Iterator[tuple[tuple[str | int, ...], Any]]:
    """Each place in a body, the whole of it first, with a good value of it."""
    yield (), good(name, schema)
    if schema.get("type") == "object":
        for each, inner in _keys(schema).items():
            for place, value in places(each, inner):
                yield (each, *place), value
    elif schema.get("type") == "array":
        for place, value in places(name, schema["items"]):
            yield (0, *place), value


def texts(number: int, *, broken: bool) -> Iterable[str]:
    """
    The texts that are written at a place of a body.

    Text that is not JSON is refused before its place is known: all of them are written for the whole body, and one at
    each place. Text that no column can hold is checked at each place, and is written at each.
    """
    if not broken:
        return JSON_TEXTS
    return (NOT_JSON_TEXTS[number % len(NOT_JSON_TEXTS)], *NOT_TEXTS) if number else (*NOT_JSON_TEXTS, *NOT_TEXTS)


def bodies(path: str, schema: dict[str, Any], *, broken: bool) -> Iterator[bytes]:
    """A body for each place and each value that is tried there, and one with a field that there is not."""
    last = path.rpartition("/")[2]
    for variant in schema.get("oneOf", [schema]):
        for number, (place, _) in enumerate(places("", variant)):
            body = {**good("", variant), **ALSO.get(last, {}), **INSTEAD.get(last, {})}
            if place and place[0] in {"denomination", "all"}:
                body.pop("amount", None)
            if place and place[0] == "wallet_path":
                body.pop("wallet")
            template = json.dumps(_with(body, place, "\ue000"))
            for text in texts(number, broken=broken):
                yield template.replace(json.dumps("\ue000"), text).encode()
        yield json.dumps({**good("", variant), "x" * 1000 + "\U0010ffff": 2**64}).encode()


def _with(value: Any, place: tuple[str | int, ...], new: Any) -> Any:
    if not place:
        return new
    first, rest = place[0], place[1:]
    if isinstance(first, int):
        return [_with(value[0] if value else {}, rest, new)]
    held = value if isinstance(value, dict) else {}
    return {**held, first: _with(held.get(first, [] if rest and rest[0] == 0 else {}), rest, new)}


def forms(schema: dict[str, Any]) -> Iterator[bytes]:
    """A form for each field and value, and a file with each value in each of its columns and as its name."""
    columns = ["wallet_name", "token_transfer_amount_overwrite", "extra_wallet_data_about"]
    row = dict(zip(columns, ("bobby", "1", "some words"), strict=True))

    def form(fields: dict[str, Any], lines: list[list[str]], name: str = "a.csv") -> bytes:
        written = "\n".join(",".join(f'"{cell}"' for cell in line) for line in lines)
        file = SimpleUploadedFile(name, written.encode("utf-8", "surrogatepass"))
        return encode_multipart(BOUNDARY, {**fields, ("csv" if "csv" in schema["properties"] else "file"): file})

    plain = {each: good(each, inner) for each, inner in schema["properties"].items() if inner.get("format") != "binary"}
    plain |= {"token_transfer_amount_default": "1"} if "token_transfer_amount_default" in plain else {}
    for text in (*TEXTS, "\ud800"):
        for name in plain:
            fields = {key: value for key, value in plain.items() if key != name}
            # Written as the client would: what UTF-8 cannot hold, as bytes.
            yield form({**fields, name: "\ue000"}, [columns, [*row.values()]]).replace(
                "\ue000".encode(), text.encode("utf-8", "surrogatepass")
            )
        for column in columns:
            yield form(plain, [columns, [*{**row, column: text}.values()]])
        yield form(plain, [[*columns[:-1], text], [*row.values()]])
        yield form(plain, [columns, [*row.values()]], name="\ue000").replace(
            "\ue000".encode(), text.replace("\0", "%00").encode("utf-8", "surrogatepass")
        )


def urls(path: str, description: dict[str, Any], ids: dict[str, str]) -> Iterator[str]:
    """The path with each of its parameters, and each of the query, at each value."""
    named = {each["name"]: each["in"] for each in description.get("parameters", [])}
    plain = path.format_map({**ids, "name": "alice", "code": "1"})
    quoted = [urlencode({"": text}).removeprefix("=") for text in TEXTS]
    for name, where in named.items():
        if where == "path":
            for text in (*quoted, *URL_TEXTS):
                yield path.format_map({**ids, "name": "alice", "code": "1", name: text})
        elif where == "query":
            for text in (*quoted, *URL_TEXTS):
                yield f"{plain}?{name}={text}"
            yield f"{plain}?{name}=1&{name}=2"
            yield f"{plain}?{name}[]=1"


@pytest.fixture
def ids(alice: Caller, bob: Caller, settings: Any) -> dict[str, str]:
    # Where nothing listens.
    settings.RAIDA_HOSTS = ["127.0.0.1:1"] * 25
    settings.RAIDA_TIMEOUT_SECONDS = 0.2
    words = world(alice, bob)
    return {
        "wallet_id": words["wallets"][1],
        "token_id": words["tokens"][0],
        "transfer_id": words["transfers"][1],
        "action_token_id": "00000000-0000-4000-8000-000000000000",
        "trust_relationship_id": words["trusts"][1],
        "payment_request_id": str(
            payment_requests.create(actor=bob.wallet, name=None, units=10**8, description="a tree").pk
        ),
        **dict.fromkeys(
            (
                "export_id",
                "locker_id",
                "receipt_id",
                "task_id",
                "payment_id",
                "webhook_id",
                "delivery_id",
                "session_id",
                "key_id",
            ),
            "00000000-0000-4000-8000-000000000000",
        ),
    }


def everything_stored() -> str:
    with connection.cursor() as cursor:
        cursor.execute(
            "SELECT tablename FROM pg_tables WHERE schemaname = 'public' AND tablename <> ALL(%s)", [NOT_COMPARED]
        )
        digests = [
            f"(SELECT md5(coalesce(string_agg(x::text, '' ORDER BY x::text), '')) FROM \"{table}\" AS x)"
            for (table,) in cursor.fetchall()
            if table not in NOT_COMPARED
        ]
        cursor.execute("SELECT " + " || ".join(digests))
        return str(cursor.fetchone()[0])


class Walk:
    """Sends requests, undoes those that were let through, and notes what is wrong."""

    def __init__(self, caller: Caller) -> None:
        self.caller = caller
        self.calls = 0
        self.wrong: list[str] = []

    def send(self, method: str, path: str, url: str, body: bytes | None, **headers: str | None) -> None:
        self.calls += 1
        savepoint = None if method == "GET" else connection.savepoint()
        response = self.caller.send(method, url, body, **headers)
        if savepoint is not None and response.status_code < 400:
            connection.savepoint_rollback(savepoint)
        self.look_at(method, path, url, body, response)

    def look_at(self, method: str, path: str, url: str, body: bytes | None, response: Any) -> None:
        if why := problem(method, path, response):
            what = (body or b"")[:160]
            self.wrong.append(f"{method} {url[:160]} {what!r}: {response.status_code} {why}")


def problem(method: str, path: str, response: Any) -> str:
    """Say what is wrong with an answer; "" if nothing is."""
    status = response.status_code
    if status < 400:
        return ""
    if status >= 500 and not (status == 500 and path in ANSWERS_500 and b"raida_status_code" in response.content):
        return response.content[:100].decode()
    if response["Content-Type"] != content_type_of(path):
        return f"{response['Content-Type']}"
    told = json.loads(response.content)
    if is_problem_path(path):
        told = {"message": told.get("detail"), "code": told.get("status"), "status": "error", "error": True}
    expected = {"code": status, "message": told.get("message")} | (
        {"status": "error", "error": True} if path.startswith("/api/") else {}
    )
    if not isinstance(told.get("message"), str) or not expected.items() <= told.items():
        return f"another dialect: {told}"
    # Text in a path may make another path, which there is not.
    is_described = str(status) in DOCUMENT["paths"][path][method.lower()]["responses"]
    return "" if is_described or told["message"].startswith("Cannot ") else f"not described: {told}"


# Some 5,000 requests. Half of them have an idempotency key: each place is tried with and without one, and each value.
@pytest.mark.timeout(900)
def test_no_value_of_any_field_or_parameter_is_answered_with_a_5xx_and_a_refused_call_changes_nothing(
    alice: Caller, ids: dict[str, str]
) -> None:
    walk = Walk(alice)
    before = everything_stored()
    # Those that read come last, and are not compared: one that looks into a locker begins a task.
    for method, path, description in sorted(operations(), key=lambda each: each[0] == "GET"):
        url = path.format_map({**ids, "name": "alice", "code": "1"})
        content = (description.get("requestBody") or {}).get("content", {})
        for number, each in enumerate(urls(path, description, ids)):
            key = None if number % 2 else "k"
            walk.send(method, path, each, b"{}" if content else None, idempotency_key=key)
        if "application/json" in content:
            schema = content["application/json"]["schema"]
            for number, body in enumerate(bodies(path, schema, broken=False)):
                # At the next place each value comes the other way.
                has_key = (number + number // len(JSON_TEXTS)) % 2
                walk.send(method, path, url, body, idempotency_key="k" if has_key else None)
            for body in bodies(path, schema, broken=True):
                walk.look_at(method, path, url, body, alice.send(method, url, body, idempotency_key="k"))
        if "multipart/form-data" in content:
            for number, body in enumerate(forms(content["multipart/form-data"]["schema"])):
                key = None if number % 2 else "k"
                walk.send(method, path, url, body, content_type=MULTIPART_CONTENT, idempotency_key=key)
        if method != "GET" and (after := everything_stored()) != before:
            walk.wrong.append(f"{method} {path}: a refused call changed something")
            before = after

    assert walk.wrong == []
    assert walk.calls > 4_000


def test_a_method_that_is_not_described_is_answered_with_405_and_those_that_are(
    alice: Caller, ids: dict[str, str]
) -> None:
    wrong = []
    for path, methods in DOCUMENT["paths"].items():
        url = path.format_map({**ids, "name": "alice", "code": "1"})
        described = {method.upper() for method in methods}
        for method in {"GET", "POST", "PUT", "PATCH", "DELETE", "TRACE"} - described:
            response = alice.send(method, url, b"{}")
            allowed = set(response.headers.get("Allow", "").replace(" ", "").split(","))
            if response.status_code != 405 or not described <= allowed or method in allowed:
                wrong.append((method, path, response.status_code, allowed))

    assert wrong == []
