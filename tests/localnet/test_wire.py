"""Requests as the local network reads them: what it refuses, and with which status."""

import pytest

from lockers.localnet import wire
from lockers.raida import encryption, frames
from lockers.raida.coins import Coin
from lockers.raida.commands import Command
from lockers.raida.encryption import PLAIN
from lockers.raida.frames import build_request
from lockers.raida.statuses import Status
from tests.localnet.requests import RequestHeader, knows, read_request

KEY = bytes(range(0xB0, 0xC0))

ENCRYPTIONS = [PLAIN, encryption.with_coin(Coin(3, 3100), KEY), encryption.with_locker_key(KEY)]


def build(cipher: encryption.Encryption = PLAIN) -> frames.Request:
    return build_request(
        raida=7,
        command=Command.PEEK,
        payload=b"some payload",
        challenge12=bytes(range(12)),
        nonce=bytes.fromhex("a1a2a3a4a5a60b0c"),
        encryption=cipher,
    )


def altered(data: bytes, offset: int, value: int) -> bytes:
    changed = bytearray(data)
    assert changed[offset] != value, "nothing would be altered"
    changed[offset] = value
    return bytes(changed)


def refusal(data: bytes) -> Status:
    """The status with which server 7 refuses a request; it has no key."""
    with pytest.raises(wire.Refused) as caught:
        read_request(data, raida=7)
    return caught.value.status


@pytest.mark.parametrize("cipher", ENCRYPTIONS)
def test_a_request_is_read_with_its_key(cipher: encryption.Encryption) -> None:
    data = build(cipher).encode()
    asked = []

    def find_key(kind: int, reference: bytes) -> bytes:
        asked.append((kind, reference))
        return KEY

    assert read_request(data, find_key) == build(cipher)
    assert asked == ([(cipher.kind, cipher.reference)] if cipher.kind else [])
    assert (b"some payload" in data) is (cipher.kind == 0)


@pytest.mark.parametrize("cipher", ENCRYPTIONS[1:])
def test_a_request_is_not_read_with_another_key(cipher: encryption.Encryption) -> None:
    with pytest.raises(wire.Refused) as caught:
        read_request(build(cipher).encode(), lambda kind, reference: bytes(16))

    assert caught.value.status is Status.INVALID_CRC


# Each offset of a header that a server checks, what it refuses there, and with which status.
REFUSALS = [
    (0, 0, 255),
    (0, 2, 255),
    (1, 1, 2),
    (2, 8, 3),
    (2, 25, 3),
    (3, 4, 4),
    (4, 0x4D, 5),
    (5, 0x4D, 6),
    (6, 1, 7),
    (7, 7, 7),
    (16, 3, 27),
    (16, 1, 34),
    (16, 2, 34),
    (16, 4, 25),
    (16, 5, 25),
    (22, 1, 16),
]


@pytest.mark.parametrize(("offset", "value", "status"), REFUSALS)
def test_a_header_field_is_refused(offset: int, value: int, status: int) -> None:
    assert refusal(altered(build().encode(), offset, value) + bytes(16)) == status


def test_the_first_fault_in_the_order_of_real_servers_is_answered() -> None:
    order = [0, 1, 2, 4, 3, 5, 6, 16]
    faults = {offset: (value, status) for offset, value, status in reversed(REFUSALS) if offset in order}
    for start in range(len(order)):
        data = build().encode()
        for offset in order[start:]:
            data = altered(data, offset, faults[offset][0])
        assert refusal(data + bytes(16)) == faults[order[start]][1], order[start]


@pytest.mark.parametrize("shard", [0, 1, 2, 3])
def test_shards_up_to_three_are_read(shard: int) -> None:
    data = bytearray(build().encode())
    data[3] = shard

    assert read_request(bytes(data)) == build()


@pytest.mark.parametrize("offset", [8, 9, 10, 11, 12, 13, 14, 15])
def test_fields_that_servers_ignore_may_hold_anything(offset: int) -> None:
    assert read_request(altered(build().encode(), offset, 0xA5)) == build()


def test_a_request_without_a_body_has_no_payload() -> None:
    header = RequestHeader(raida=7, group=0, code=0, body_length=0).encode()
    memory = wire.Memory()

    reading = wire.read_header(header, memory, raida=7, knows=knows, find_key=lambda kind, reference: None)

    assert wire.read_body(header, reading, memory) is None


@pytest.mark.parametrize(("size", "status"), [(1, 16), (2, 16), (17, 16), (18, 37)])
def test_a_body_too_short_for_a_challenge_has_the_wrong_length(size: int, status: int) -> None:
    header = RequestHeader(raida=7, group=0, code=0, body_length=size)

    assert refusal(header.encode() + b"\x3e" * size) == status


@pytest.mark.parametrize("offset", [-2, -1])
def test_a_body_without_its_end_is_refused(offset: int) -> None:
    assert refusal(altered(build().encode(), offset, 0x3F)) == 33


def test_a_body_longer_or_shorter_than_declared() -> None:
    data = build().encode()

    for cut in range(frames.HEADER_SIZE, len(data)):
        assert refusal(data[:cut]) == 16
    assert read_request(data + b"\x3e") == build()


def test_keys_and_signatures_do_not_show_in_a_repr() -> None:
    memory = wire.Memory()
    data = build(ENCRYPTIONS[1]).encode()
    reading = wire.read_header(data, memory, raida=7, knows=knows, find_key=lambda kind, reference: KEY)
    wire.read_body(data, reading, memory)

    assert repr(memory.signature) not in repr(memory)
    assert repr(KEY) not in repr(reading)
