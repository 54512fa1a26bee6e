"""Every endpoint that reads a body, with each way to send one. Against the real server."""

import gzip
import json
import re
import zlib
from collections.abc import Callable, Iterator
from typing import Any

import pytest
from django.urls import get_resolver

from config.api.openapi_document import document, message_of
from tests.api.caller import PASSWORD, Caller, refusal
from tests.api.endpoints import endpoints
from tests.api.web_server import web_server
from tests.support.api_description import api_description
from tests.support.requests_over_sockets import answered, chunked
from transfers.models import Transfer
from transfers.operations import issue_tokens
from wallets.models import IdempotentAnswer, Wallet

pytestmark = pytest.mark.usefixtures("transactional_db")
BOM = b"\xef\xbb\xbf"
ID = "0b5d4b1e-0000-4000-8000-000000000001"
NOT_GZIP = "Malformed request: the body is not gzip"


@pytest.fixture(scope="module")
def server(django_db_setup: None) -> Iterator[str]:
    with web_server() as address:
        yield address


def request(caller: Caller, method: str, path: str, body: bytes, *, is_chunked: bool = False, **headers: str) -> bytes:
    lines = {
        "host": "localhost",
        "connection": "close",
        "content-type": "application/json",
        "treetracker-api-key": str(caller.api_key),
        "authorization": f"Bearer {caller.bearer}",
        **({"transfer-encoding": "chunked"} if is_chunked else {"content-length": str(len(body))}),
        **{name.replace("_", "-"): value for name, value in headers.items()},
    }
    head = "".join(f"{name}: {value}\r\n" for name, value in lines.items() if value)
    return f"{method} {path} HTTP/1.1\r\n{head}\r\n".encode() + (chunked(body) if is_chunked else body)


def in_two_members(body: bytes) -> bytes:
    return gzip.compress(body[:3]) + gzip.compress(body[3:])


# How the bytes of a body are sent, and with which headers.
Sending = tuple[Callable[[bytes], bytes], dict[str, Any]]
WAYS: dict[str, Sending] = {
    "plain": (bytes, {}),
    "chunked": (bytes, {"is_chunked": True}),
    "gzip": (gzip.compress, {"content_encoding": "gzip"}),
    "gzip, chunked": (gzip.compress, {"content_encoding": "GZip", "is_chunked": True}),
    "gzip, two members": (in_two_members, {"content_encoding": "x-gzip"}),
    "identity": (bytes, {"content_encoding": "identity"}),
}
MARKED: dict[str, Sending] = {
    "mark": (lambda body: BOM + body, {}),
    "mark, chunked": (lambda body: BOM + body, {"is_chunked": True}),
    "mark, gzip": (lambda body: gzip.compress(BOM + body), {"content_encoding": "gzip"}),
}


def doors(wallet: Wallet) -> list[tuple[str, str, str, bytes]]:
    """Return method, path, media type and body of each; all is valid but for one field more, called "unread"."""
    found, described = [], api_description()["paths"]
    for method, path, _ in endpoints(get_resolver()):
        body = described.get(path, {}).get(method.lower(), {}).get("requestBody")
        if body is None:
            continue
        filled = path.replace("{wallet_id}", str(wallet.pk))
        filled = re.sub(r"\{(\w+)\}", lambda match: ID if match[1].endswith("_id") else "sapling", filled)
        for media_type, content in body["content"].items():
            if media_type == "application/json":
                example = next(iter(content["examples"].values()))["value"]
                found.append((method, filled, media_type, json.dumps({**example, "unread": 1}).encode()))
            else:
                form = "".join(
                    f'--frame\r\nContent-Disposition: form-data; name="{name}"{more}\r\n\r\n{text}\r\n'
                    for name, more, text in fields_of(content["schema"])
                )
                found.append((method, filled, f"{media_type}; boundary=frame", f"{form}--frame--\r\n".encode()))
    return found


def fields_of(schema: dict[str, Any]) -> Iterator[tuple[str, str, str]]:
    for name, each in schema["properties"].items():
        is_file = each.get("format") == "binary" or each.get("contentMediaType")
        if is_file:
            yield name, '; filename="a.csv"', "wallet_name\nbobby\n"
        elif name in schema["required"]:
            yield name, "", "alice"
    yield "unread", "", "1"


def test_row_33_each_door_reads_a_body_however_it_is_sent(server: str, alice: Caller) -> None:
    found = doors(alice.wallet)
    read: dict[tuple[str, str], set[str]] = {}
    for method, path, media_type, body in found:
        ways = WAYS | (MARKED if media_type == "application/json" else {})
        for way, (write, how) in ways.items():
            sent = request(alice, method, path, write(body), content_type=media_type, **how)
            status, _, content = answered(server, sent)
            message = message_of(json.loads(content))
            if (status, message) != (422, '"unread" is not allowed'):
                read.setdefault((f"{method} {path}", media_type), set()).add(f"{way}: {status} {message}")

    operations = [each for methods in document()["paths"].values() for each in methods.values()]
    assert len(found) == sum(len(each["requestBody"]["content"]) for each in operations if "requestBody" in each) > 25
    assert read == {}


def test_one_request_has_one_effect_however_often_and_however_it_is_sent(
    server: str, alice: Caller, bob: Caller
) -> None:
    issue_tokens(wallet=alice.wallet, count=3)
    body = {"sender_wallet": "alice", "receiver_wallet": "bobby", "bundle": {"bundle_size": 1}}

    answers = {}
    for way, (write, how) in (WAYS | MARKED).items():
        sent = write(json.dumps(body).encode())
        status, headers, content = answered(
            server, request(alice, "POST", "/transfers", sent, idempotency_key="k-1", **how)
        )
        answers[way] = status, headers.get("idempotency-replayed"), content

    first = answers.pop("plain")
    assert first[:2] == (202, None)
    assert set(answers.values()) == {(202, "true", first[2])}
    assert (Transfer.objects.count(), IdempotentAnswer.objects.count()) == (1, 1)


@pytest.mark.parametrize("way", [*WAYS, *MARKED])
def test_a_login_is_read_however_it_is_sent(server: str, alice: Caller, way: Any) -> None:
    write, how = (WAYS | MARKED)[way]
    body = write(json.dumps({"wallet": "alice", "password": PASSWORD}).encode())

    status, _, content = answered(server, request(alice, "POST", "/auth", body, **how))

    assert (status, list(json.loads(content))) == (200, ["token"])


@pytest.mark.parametrize("coding", ["br", "deflate", "zstd", "compress", "gzip, gzip", "gzip, br", "utf-8", "gzıp"])
@pytest.mark.parametrize("path", ["/wallets", "/api/v1/wallets"])
@pytest.mark.parametrize("is_chunked", [False, True])
def test_another_coding_is_415_in_the_dialect_of_the_path(
    server: str, alice: Caller, coding: str, path: str, is_chunked: bool
) -> None:
    sent = request(
        alice, "POST", path, zlib.compress(b'{"wallet": "sapling"}'), content_encoding=coding, is_chunked=is_chunked
    )

    status, headers, content = answered(server, sent)

    expected = {"code": 415, "message": "Invalid content encoding. API only supports gzip"}
    if path.startswith("/api/"):
        expected |= {"status": "error", "error": True}
    if coding.isascii():
        assert (status, json.loads(content), headers["accept-encoding"]) == (415, expected, "gzip")
    else:
        # Granian leaves such a header out: the body is no JSON then.
        assert status == 400
    assert not Wallet.objects.filter(name="sapling").exists()


WHOLE = gzip.compress(b'{"wallet": "sapling"}')


@pytest.mark.parametrize(
    ("sent", "message"),
    [
        (b'{"wallet": "sapling"}', NOT_GZIP),
        (WHOLE[:-1], NOT_GZIP),
        (WHOLE[:5], NOT_GZIP),
        (WHOLE + b"x", NOT_GZIP),
        (WHOLE[:-8] + bytes(8), NOT_GZIP),
        (zlib.compress(b'{"wallet": "sapling"}'), NOT_GZIP),
        (gzip.compress(b"[" + BOM + b"]"), "Malformed JSON: Expecting value at position 1"),
    ],
    ids=["plain", "short", "head", "more after it", "another checksum", "zlib", "a mark within"],
)
def test_what_is_not_gzip_is_400_and_changes_nothing(server: str, alice: Caller, sent: Any, message: Any) -> None:
    status, _, content = answered(server, request(alice, "POST", "/wallets", sent, content_encoding="gzip"))

    assert (status, json.loads(content)) == (400, {"code": 400, "message": message})
    assert not Wallet.objects.filter(name="sapling").exists()


def test_row_33_a_body_that_unfolds_to_more_than_its_path_may_have_is_413_and_leaves_its_room(
    server: str, alice: Caller
) -> None:
    # Together more than the room that large bodies share.
    bombs = [("/api/v1/import", 22), ("/wallets", 6), ("/wallets/batch-transfer", 6)] * 4
    for path, mebibytes in bombs:
        body = gzip.compress(bytes(mebibytes * 1024 * 1024), 9)
        assert len(body) < 30_000
        status, headers, content = answered(server, request(alice, "POST", path, body, content_encoding="gzip"))
        assert (status, headers["connection"]) == (413, "close")
        assert json.loads(content)["message"] == "Request entity too large"

    # The limits of the view hold for what was unfolded.
    body = gzip.compress(json.dumps({"wallet": "x" * 200_000}).encode())
    status, _, content = answered(server, request(alice, "POST", "/wallets", body, content_encoding="gzip"))
    assert (status, json.loads(content)) == refusal(413, "Request entity too large")

    body = gzip.compress(b'{"wallet": "sapling"}' + b" " * 90_000)
    status, _, _ = answered(server, request(alice, "POST", "/wallets", body, content_encoding="gzip"))
    assert (status, Wallet.objects.filter(name="sapling").count()) == (200, 1)


# --- no body at all ------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "lines", ["", "content-length: 0\r\n", "transfer-encoding: chunked\r\n"], ids=["nothing", "length 0", "chunked"]
)
def test_a_transfer_is_accepted_without_a_body(server: str, alice: Caller, bob: Caller, lines: str) -> None:
    issue_tokens(wallet=alice.wallet, count=1)
    alice.post("/transfers", {"sender_wallet": "alice", "receiver_wallet": "bobby", "bundle": {"bundle_size": 1}})
    transfer = Transfer.objects.get()

    head = request(bob, "POST", f"/transfers/{transfer.pk}/accept", b"", content_type="", content_length="")
    sent = head.removesuffix(b"\r\n") + lines.encode() + b"\r\n" + (b"0\r\n\r\n" if "chunked" in lines else b"")
    status, _, _ = answered(server, sent)

    transfer.refresh_from_db()
    assert (status, str(transfer.state)) == (200, "completed")
