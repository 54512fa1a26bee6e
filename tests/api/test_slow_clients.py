"""Clients that send or read slowly, or never end: each costs a connection, and no thread. Against the real server."""

import json
import os
import signal
import socket
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from pathlib import Path

import httpx
import pytest

from tests.api.caller import PASSWORD, Caller
from tests.api.web_server import children_of, started, wait_for, web_server
from tests.support.requests_over_sockets import answered, chunked, connected, everything
from transfers.models import Transfer
from transfers.operations import issue_tokens
from wallets.models import IdempotentAnswer, Wallet

# More than a client waits here for anything, so that no test passes because a stalled connection was ended meanwhile.
LONG = "60"
SHORT = "1"
HEAD = b"POST /auth HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\n"
# What has been sent when the connection stalls.
STAGES = {
    "nothing": b"",
    "the request line": b"POST /auth HTTP/1.1\r\n",
    "half of the head": HEAD + b"Content-Le",
    "the head": HEAD + b"Content-Length: 20\r\n\r\n",
    "half of the body": HEAD + b"Content-Length: 20\r\n\r\n{",
    "half of a large body": HEAD + b"Content-Length: 90000\r\n\r\n{" + b" " * 20_000,
    "the head of a chunked body": HEAD + b"Transfer-Encoding: chunked\r\n\r\n",
    "half of a chunk": HEAD + b"Transfer-Encoding: chunked\r\n\r\n5\r\nab",
    "one chunk": HEAD + b"Transfer-Encoding: chunked\r\n\r\n2\r\nab\r\n",
    "a whole request": b"GET /livez HTTP/1.1\r\nHost: localhost\r\n\r\n",
}
# It is larger than what two sockets hold.
LARGE = b"GET /openapi.json HTTP/1.1\r\nHost: localhost\r\n\r\n"


pytestmark = pytest.mark.usefixtures("transactional_db")


@pytest.fixture(scope="module")
def patient(django_db_setup: None) -> Iterator[str]:
    """A server that waits long for each request."""
    with web_server({"COPPICE_REQUEST_SECONDS": LONG}) as address:
        yield address


@pytest.fixture(scope="module")
def impatient(django_db_setup: None) -> Iterator[str]:
    with web_server({"COPPICE_REQUEST_SECONDS": SHORT}) as address:
        yield address


def _wait_until_the_kernel_has_let_go_of(connection: socket.socket) -> None:
    """Return when the server's side is gone; to read a byte would be a sign of life."""
    ours, theirs = (f":{end[1]:04X}" for end in (connection.getsockname(), connection.getpeername()))
    end = time.monotonic() + 30
    while time.monotonic() < end:
        rows = [line.split() for line in Path("/proc/net/tcp").read_text().splitlines()[1:]]
        if not any(row[1].endswith(theirs) and row[2].endswith(ours) for row in rows):
            return
        time.sleep(0.1)
    raise AssertionError("the connection is still there")


def request(caller: Caller, method: str, path: str, body: bytes, **headers: str) -> bytes:
    """Return a request with the caller's credentials and a chunked body."""
    lines = {
        "host": "localhost",
        "connection": "close",
        "transfer-encoding": "chunked",
        "content-type": "application/json",
        "treetracker-api-key": caller.api_key,
        "authorization": f"Bearer {caller.bearer}",
        **{name.replace("_", "-"): value for name, value in headers.items()},
    }
    head = "".join(f"{name}: {value}\r\n" for name, value in lines.items())
    return f"{method} {path} HTTP/1.1\r\n{head}\r\n".encode() + chunked(body)


# --- a stalled client blocks no other ---------------------------------------------------------


def test_twenty_connections_that_stall_at_every_stage_stop_nobody(patient: str, alice: Caller) -> None:
    with ExitStack() as stack:
        for sent in [*STAGES.values(), *[STAGES["half of the body"]] * 2]:
            stack.enter_context(connected(patient, sent))
        for _ in range(8):
            stack.enter_context(connected(patient, LARGE, window=2048))
        with httpx.Client(base_url=f"http://{patient}", timeout=50) as client:
            assert client.get("/livez").json() == {"status": "ok"}
            headers = {"treetracker-api-key": alice.api_key}
            login = client.post("/auth", json={"wallet": "alice", "password": PASSWORD}, headers=headers)
            headers["authorization"] = f"Bearer {login.json()['token']}"
            created = client.post("/wallets", json={"wallet": "sapling"}, headers=headers)
            listed = client.get("/wallets?limit=10", headers=headers)

    assert created.json()["wallet"] == "sapling"
    assert len(listed.json()["wallets"]) == 2


def test_each_stage_has_a_deadline(impatient: str) -> None:
    with ExitStack() as stack:
        stalled = {stage: stack.enter_context(connected(impatient, sent)) for stage, sent in STAGES.items()}
        stalled["half of an answer"] = stack.enter_context(connected(impatient, LARGE, window=2048))
        _wait_until_the_kernel_has_let_go_of(stalled["half of an answer"])
        ended = {stage: everything(connection) for stage, connection in stalled.items()}

    assert {stage for stage in ended if not ended[stage]} == {"nothing", "the request line", "half of the head"}
    assert ended["a whole request"].endswith(b'{"status": "ok"}')
    large = ended["half of an answer"]
    assert large.startswith(b"HTTP/1.1 200 OK")
    length = int(large.lower().partition(b"content-length: ")[2].partition(b"\r")[0])
    assert len(large.partition(b"\r\n\r\n")[2]) < length
    for stage in ("the head", "half of the body", "half of a large body", "the head of a chunked body", "one chunk"):
        head, _, body = ended[stage].partition(b"\r\n\r\n")
        assert head.startswith(b"HTTP/1.1 408 "), stage
        assert b"connection: close" in head.lower()
        assert b"error-code: request_timeout" in head.lower()
        assert json.loads(body) == {"code": 408, "message": "Request timeout"}


def test_a_slow_body_below_api_is_refused_in_the_dialect_of_lockers(impatient: str) -> None:
    head = b"POST /api/v1/import HTTP/1.1\r\nHost: localhost\r\nContent-Length: 5\r\n\r\n"

    status, headers, body = answered(impatient, head)

    assert (status, headers["content-type"], headers["connection"]) == (408, "application/json", "close")
    assert json.loads(body) == {"status": "error", "error": True, "message": "Request timeout", "code": 408}


# --- bodies ------------------------------------------------------------------------------------


TOO_LARGE = {"code": 413, "message": "Request entity too large"}


def test_a_body_that_is_far_too_large_is_refused_before_it_is_read_or_while_it_is(patient: str) -> None:
    announced = HEAD + b"Content-Length: 60000000\r\n\r\n"
    expected = HEAD + b"Content-Length: 6000000\r\nExpect: 100-continue\r\n\r\n"
    with connected(patient, HEAD + b"Transfer-Encoding: chunked\r\n\r\n") as endless:
        sent = 0
        try:
            while sent < 100_000_000:
                endless.sendall(b"10000\r\n" + b" " * 65536 + b"\r\n")
                sent += 65536
        except OSError:
            pass

    assert sent < 60_000_000
    for request_head in (announced, expected):
        status, headers, body = answered(patient, request_head)
        assert (status, headers["connection"]) == (413, "close")
        assert json.loads(body) == TOO_LARGE


@pytest.mark.parametrize(
    "length", [b"Content-Length: 6000000\r\n\r\n", b"Transfer-Encoding: chunked\r\n\r\n5b8d80\r\n"]
)
def test_a_body_that_is_too_large_is_read_to_its_end_before_it_is_refused(patient: str, length: bytes) -> None:
    """A proxy that is still sending when the connection ends answers 502 instead."""
    with connected(patient, HEAD + length + b" " * 5_999_999) as connection:
        connection.settimeout(0.3)
        with pytest.raises(TimeoutError, match="timed out"):
            connection.recv(1)
        connection.settimeout(20)
        connection.sendall(b" " if b"Length" in length else b" \r\n0\r\n\r\n")
        head, _, body = everything(connection).partition(b"\r\n\r\n")

    assert head.startswith(b"HTTP/1.1 413 ")
    assert json.loads(body) == TOO_LARGE


def test_a_chunked_body_counts_like_any_other(patient: str, alice: Caller) -> None:
    wallet = {"wallet": "sapling"}
    key = {"idempotency_key": "k-1"}

    status, _, body = answered(patient, request(alice, "POST", "/wallets", json.dumps(wallet).encode(), **key))
    with httpx.Client(base_url=f"http://{patient}", timeout=50) as client:
        headers = {"treetracker-api-key": alice.api_key, "authorization": f"Bearer {alice.bearer}"}
        again = client.post("/wallets", json=wallet, headers=headers | {"idempotency-key": "k-1"})
        sapling = Wallet.objects.get(name="sapling")
        other = client.post("/wallets", json={"wallet": "another"}, headers=headers | {"idempotency-key": "k-1"})

    assert (status, json.loads(body)["wallet"]) == (200, "sapling")
    assert (again.content, again.headers["Idempotency-Replayed"]) == (body, "true")
    assert other.status_code == 422

    about = json.dumps({"about": "Oak trees"}).encode()
    path = f"/wallets/{sapling.pk}"
    first = answered(patient, request(alice, "PATCH", path, about, idempotency_key="k-2"))
    repeated = alice.patch(path, {"about": "Oak trees"}, idempotency_key="k-2")
    sapling.refresh_from_db()

    assert (first[0], sapling.about) == (200, "Oak trees")
    assert repeated["Idempotency-Replayed"] == "true"
    assert IdempotentAnswer.objects.count() == 2


def test_a_transfer_is_accepted_and_a_file_uploaded_with_chunked_bodies(
    patient: str, alice: Caller, bob: Caller
) -> None:
    issue_tokens(wallet=alice.wallet, count=3)
    sent = alice.post(
        "/transfers",
        {"sender_wallet": "alice", "receiver_wallet": "bobby", "bundle": {"bundle_size": 1}},
    )
    assert sent.status_code == 202
    transfer = Transfer.objects.get()

    accepted = answered(patient, request(bob, "POST", f"/transfers/{transfer.pk}/accept", b"{}"))
    form = (
        b'--frame\r\nContent-Disposition: form-data; name="sender_wallet"\r\n\r\nalice\r\n'
        b'--frame\r\nContent-Disposition: form-data; name="token_transfer_amount_default"\r\n\r\n1\r\n'
        b'--frame\r\nContent-Disposition: form-data; name="csv"; filename="w.csv"\r\nContent-Type: text/csv\r\n\r\n'
        b"wallet_name\nbobby\n\r\n--frame--\r\n"
    )
    uploaded = answered(
        patient,
        request(alice, "POST", "/wallets/batch-transfer", form, content_type="multipart/form-data; boundary=frame"),
    )

    transfer.refresh_from_db()
    assert (accepted[0], str(transfer.state)) == (200, "completed")
    assert uploaded[0] in (200, 201, 202), uploaded
    assert Transfer.objects.count() == 2


@pytest.mark.parametrize(
    "cut", [b"", b"zz\r\n", b"5\r\nab", b"0\r\nTrailer: x\r\n\r\n"], ids=["ends", "is no chunk", "half", "trailer"]
)
def test_a_chunked_body_that_breaks_off_changes_nothing(patient: str, alice: Caller, cut: bytes) -> None:
    whole = request(alice, "POST", "/wallets", b'{"wallet": "sapling"}')
    with connected(patient, whole.removesuffix(b"0\r\n\r\n") + cut) as connection:
        connection.shutdown(socket.SHUT_WR)
        received = everything(connection)

    assert received == b"" or received.startswith(b"HTTP/1.1 400 ")
    assert not Wallet.objects.filter(name="sapling").exists()


# --- heads -------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", ["authorization", "treetracker-api-key", "idempotency-key", "content-type", "host"])
def test_a_header_that_decides_stands_once(patient: str, alice: Caller, name: str) -> None:
    given = {"idempotency_key": "k-1"}
    whole = request(alice, "POST", "/wallets", b'{"wallet": "sapling"}', **given)
    line = next(line for line in whole.split(b"\r\n") if line.startswith(name.encode() + b":"))

    status, _, body = answered(patient, whole.replace(line, line + b"\r\n" + line))

    assert (status, json.loads(body)) == (400, {"code": 400, "message": f"Only one {name} header is allowed"})
    assert not Wallet.objects.filter(name="sapling").exists()


def test_a_key_that_is_not_ascii_is_refused_and_not_left_out(patient: str, alice: Caller) -> None:
    whole = request(alice, "POST", "/wallets", b'{"wallet": "sapling"}', idempotency_key="clé")

    status, _, body = answered(patient, whole)

    assert (status, json.loads(body)["message"]) == (400, "The idempotency-key header must be ASCII")
    assert not Wallet.objects.filter(name="sapling").exists()


def test_row_33_a_name_with_an_underscore_is_not_the_one_with_a_dash(patient: str, alice: Caller) -> None:
    whole = request(alice, "GET", "/wallets", b"").replace(b"treetracker-api-key", b"treetracker_api_key")

    assert answered(patient, whole)[0] == 401


# --- pools -------------------------------------------------------------------------------------


def test_calls_that_wait_for_other_machines_leave_the_others_their_threads(alice: Caller) -> None:
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as silent:
        silent.bind(("127.0.0.1", 0))
        hosts = ",".join([f"127.0.0.1:{silent.getsockname()[1]}"] * 25)
        more = {
            "COPPICE_RAIDA_HOSTS": hosts,
            # Longer than it takes to send all calls, of which none is refused for its wallet's sake.
            "COPPICE_RAIDA_TIMEOUT_SECONDS": "60",
            "COPPICE_WAITING_CALLS_PER_WALLET": "40",
        }
        with started(more, processes=1) as (process, port):
            wait_for(port, process)
            client = httpx.Client(base_url=f"http://127.0.0.1:{port}", timeout=60)
            headers = {"authorization": f"Bearer {alice.bearer}"}

            def peek(_: int) -> httpx.Response:
                return client.get("/api/locker/peek?locker_key=abc", headers=headers)

            with client, ThreadPoolExecutor(40) as threads:
                peeks = [threads.submit(peek, number) for number in range(40)]
                # All but eight threads and sixteen that wait for one are refused at once.
                while sum(each.done() for each in peeks) < 16:
                    time.sleep(0.01)
                others = client.get("/livez"), client.get("/api/v1/wallets", headers=headers)
                refused = [each.result() for each in peeks if each.done()]
                # The other calls get no answer. The serving process would answer them before it ended.
                serving = children_of(process.pid)
                process.kill()
                for child in serving:
                    os.kill(child, signal.SIGKILL)

    assert {each.status_code for each in refused} == {503}
    assert [each.status_code for each in others] == [200, 200]
    assert len(refused) == 16
    assert {each.text for each in refused} == {
        '{"status":"error","error":true,"message":"Service busy, try again","code":503}'
    }
    assert {(each.headers["Retry-After"], each.headers["Error-Code"]) for each in refused} == {("1", "service_busy")}
