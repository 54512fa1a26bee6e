"""What a server answers before it reads a command (the RAIDA protocol, sections 1, 4 and 11)."""

import socket
from typing import Any

import pytest

from lockers.raida import encryption, frames
from lockers.raida.commands import Command
from lockers.raida.frames import TERMINATOR
from lockers.raida.payloads import encode_coins, encode_fix
from tests.localnet.coins import locker_key, new_coins
from tests.localnet.recording import exchange
from tests.localnet.requests import RequestHeader
from tests.support.local_network import LocalNetwork

RAIDA = 7
CHALLENGE = encryption.challenge(b"\x11" * 12)
ECHO = b"\xab\xcd"


def request(body: bytes = CHALLENGE + TERMINATOR, **fields: object) -> bytes:
    given = {"raida": RAIDA, "group": 0, "code": 0, "body_length": len(body), "nonce": bytes(6) + ECHO} | fields
    return RequestHeader(**given).encode() + body


def send(network: LocalNetwork, data: bytes, *, over_tcp: bool) -> bytes:
    server = network.servers[RAIDA]
    return exchange(server.host, server.port, data, over_tcp=over_tcp)


# In the order in which real servers check: each request has every later fault too.
LATER = {"code": 77, "coin_id": 1, "encryption_kind": 9}
FAULTS = [
    (255, LATER | {"version": 0, "split": 1, "raida": 8, "group": 77, "shard": 9}),
    (2, LATER | {"split": 1, "raida": 8, "group": 77, "shard": 9}),
    (3, LATER | {"raida": 8, "group": 77, "shard": 9}),
    (5, LATER | {"group": 77, "shard": 9}),
    (4, LATER | {"shard": 9}),
    (6, LATER),
    (7, {"coin_id": 1, "encryption_kind": 9}),
]


@pytest.mark.parametrize(("status", "fields"), FAULTS)
def test_the_first_fault_of_a_header_is_answered_with_what_was_read_before(
    network: LocalNetwork, status: Any, fields: Any
) -> None:
    remembered = send(network, request(group=8, code=83, nonce=bytes(6) + b"\x12\x34"), over_tcp=False)
    assert (remembered[2], remembered[3], remembered[6:8], remembered[16:32]) == (16, 8, b"\x12\x34", CHALLENGE)

    # The padding makes the datagram long enough for the wide header of an unknown encryption.
    by_udp = send(network, request(bytes(32), **fields), over_tcp=False)
    by_tcp = send(network, request(bytes(32), **fields), over_tcp=True)

    group = 0 if status == 7 else 8
    assert by_udp[:12] == bytes((RAIDA, 0, status, group, 0, 1)) + b"\x12\x34" + bytes(4)
    assert by_udp[16:] == CHALLENGE
    assert by_tcp[:12] == bytes((RAIDA, 0, status, 0, 0, 1)) + bytes(6)
    assert by_tcp[16:] == bytes(16)


@pytest.mark.parametrize("over_tcp", [False, True])
def test_an_unknown_encryption_is_answered_under_a_wide_header(network: LocalNetwork, over_tcp: bool) -> None:
    answer = send(network, request(bytes(32), encryption_kind=9), over_tcp=over_tcp)

    assert len(answer) == 48
    assert answer[:4] == bytes((RAIDA, 0, 27, 0))
    assert answer[16] == 9


@pytest.mark.parametrize(
    ("status", "data"),
    [
        (34, request(encryption_kind=1, reference=b"\x00\xff\xff\xff\xff")),
        (34, request(encryption_kind=1, reference=b"\x09" + bytes(4))),
        (34, request(encryption_kind=2, reference=b"nobod")),
        (36, request(b"", group=8, code=83)),
        (16, request(b"\x3e")),
        (33, request(CHALLENGE + b"\x3e\x3d")),
        (16, request(CHALLENGE[:15] + TERMINATOR)),
        (37, request(CHALLENGE[:15] + b"\x00" + TERMINATOR)),
        (37, request(encryption_kind=1, reference=bytes(5))),
    ],
)
@pytest.mark.parametrize("over_tcp", [False, True])
def test_a_body_in_error_is_answered_with_the_right_echo(
    network: LocalNetwork, status: int, data: Any, over_tcp: bool
) -> None:
    answer = send(network, data, over_tcp=over_tcp)

    assert (answer[2], answer[6:8], answer[9:12]) == (status, ECHO, bytes(3))


@pytest.mark.parametrize("over_tcp", [False, True])
def test_echo_and_version_need_no_body(network: LocalNetwork, over_tcp: bool) -> None:
    echo = send(network, request(b""), over_tcp=over_tcp)
    version = send(network, request(b"", code=1), over_tcp=over_tcp)

    assert (echo[2], echo[32:]) == (250, b"")
    assert (version[2], version[32:]) == (250, b"20250323" + TERMINATOR)


def test_256_bit_kinds_are_recognised_and_good_for_an_echo_only(network: LocalNetwork) -> None:
    def wide(code: int, reference: bytes, body: bytes) -> bytes:
        head = bytearray(request(b"", group=8 if code else 0, code=code, encryption_kind=4))
        head[17:19] = len(body).to_bytes(2, "big")
        head[19:24] = reference
        return bytes(head).ljust(48, b"\x07") + body

    assert send(network, wide(0, b"\x00\xff\xff\xff\xff", b""), over_tcp=False)[2] == 25
    assert send(network, wide(0, bytes(5), b""), over_tcp=True)[2] == 250
    assert send(network, wide(0, bytes(5), bytes(40) + TERMINATOR), over_tcp=True)[2] == 204
    assert send(network, wide(83, bytes(5), bytes(40) + b"\x00\x00"), over_tcp=True)[2] == 33


@pytest.mark.parametrize(("count", "status"), [(271, 242), (272, 16)])
def test_a_datagram_is_read_up_to_1440_bytes(network: LocalNetwork, count: int, status: int) -> None:
    body = CHALLENGE + encode_coins(new_coins(count)) + bytes(16) + locker_key() + TERMINATOR
    data = request(body, group=Command.PUT.group, code=Command.PUT.code)

    assert send(network, data, over_tcp=False)[2] == status
    assert send(network, data, over_tcp=True)[2] == 242


def test_what_follows_the_declared_body_is_not_looked_at(network: LocalNetwork) -> None:
    assert send(network, request() + b"more", over_tcp=False)[2] == 250


def test_too_short_a_datagram_is_not_answered(network: LocalNetwork) -> None:
    server = network.servers[RAIDA]
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sock:
        sock.settimeout(5)
        sock.connect((server.host, server.port))
        for size in (1, 16, 17, 31):
            sock.send(request()[:size])
        sock.send(request())

        # The first answer is the one to the whole request.
        assert sock.recv(1000)[2] == 250


def test_a_connection_is_good_for_one_request(network: LocalNetwork) -> None:
    answer = send(network, request() + request(), over_tcp=True)

    assert len(answer) == 32


def test_a_request_that_comes_in_pieces_is_put_together(network: LocalNetwork) -> None:
    server = network.servers[RAIDA]
    with socket.create_connection((server.host, server.port), timeout=60) as sock:
        sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        for byte in request():
            sock.send(bytes((byte,)))

        assert sock.recv(1000)[2] == 250


def test_an_encrypted_request_gets_an_encrypted_and_signed_answer(network: LocalNetwork) -> None:
    key = b"k" * 12 + b"\xff" * 4
    asked = frames.build_request(
        raida=RAIDA,
        command=Command.PEEK,
        payload=key,
        challenge12=b"\x22" * 12,
        nonce=b"\x01" * 8,
        encryption=encryption.with_locker_key(key),
    )

    unknown = frames.decode_response(send(network, asked.encode(), over_tcp=True), request=asked)

    assert unknown.status == 34


def test_what_comes_while_a_fix_waits_for_other_servers_does_not_sign_its_answer(network: LocalNetwork) -> None:
    network.fault(8, "delay:0.2")
    tickets = tuple(int(raida == 8) for raida in range(25))
    payload = encode_fix(tuple(new_coins(1)), bytes(16), tickets)
    fix = request(CHALLENGE + payload + TERMINATOR, group=2, code=80)
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as client:
        client.settimeout(10)
        client.connect((network.servers[RAIDA].host, network.servers[RAIDA].port))
        client.send(fix)
        client.send(request(encryption.challenge(b"\x22" * 12) + TERMINATOR, nonce=bytes(6) + b"\x12\x34"))
        answers = {reply[3]: reply for reply in (client.recv(100), client.recv(100))}

    assert (answers[2][2], answers[2][6:8], answers[2][16:32]) == (242, ECHO, CHALLENGE)
    assert (answers[0][2], answers[0][6:8]) == (250, b"\x12\x34")
