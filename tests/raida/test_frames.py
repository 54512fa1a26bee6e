import dataclasses

import pytest

from lockers.raida import encryption, errors, frames
from lockers.raida.coins import Coin
from lockers.raida.commands import ALL, Command
from lockers.raida.encryption import PLAIN
from lockers.raida.frames import RequestHeader, Response, build_request, decode_request, decode_response, matches
from lockers.raida.statuses import HEADER_STAGE, UNSIGNED, Status

RANDOM12 = bytes(range(12))
NONCE = bytes.fromhex("a1a2a3a4a5a60b0c")
KEY = bytes(range(0xB0, 0xC0))
COIN = Coin(3, 3100)

ENCRYPTIONS = [PLAIN, encryption.with_coin(COIN, KEY), encryption.with_locker_key(KEY)]


def build(**changes: object) -> frames.Request:
    arguments = {
        "raida": 7,
        "command": Command.PEEK,
        "payload": b"some payload",
        "challenge12": RANDOM12,
        "nonce": NONCE,
    }
    return build_request(**(arguments | changes))


def altered(data: bytes, offset: int, value: int) -> bytes:
    changed = bytearray(data)
    assert changed[offset] != value, "nothing would be altered"
    changed[offset] = value
    return bytes(changed)


def test_a_request_has_the_documented_bytes() -> None:
    request = build(payload=b"\x01\x02\x03")

    assert request.encode().hex() == (
        "01 00 07 00 08 53 0006 01 0000 00 00 00 00 01 00 0000000000 0015 a1a2a3a4a5a60b0c"
        "000102030405060708090a0b 9270c965 010203 3e3e"
    ).replace(" ", "")
    assert request.header.echo == b"\x0b\x0c"


@pytest.mark.parametrize("cipher", ENCRYPTIONS)
def test_a_request_is_read_by_who_has_the_key(cipher: encryption.Encryption) -> None:
    request = build(encryption=cipher)
    data = request.encode()
    asked = []

    def find_key(kind: int, reference: bytes) -> bytes:
        asked.append((kind, reference))
        return KEY

    assert decode_request(data, find_key=find_key, raida=7) == request
    assert asked == ([(cipher.kind, cipher.reference)] if cipher.kind else [])
    assert (b"some payload" in data) is (cipher.kind == 0)


@pytest.mark.parametrize("cipher", ENCRYPTIONS[1:])
def test_a_request_is_not_read_without_the_key_or_with_another(cipher: encryption.Encryption) -> None:
    data = build(encryption=cipher).encode()

    with pytest.raises(errors.UnknownKey):
        decode_request(data)
    with pytest.raises(errors.BadChallenge):
        decode_request(data, find_key=lambda kind, reference: bytes(16))


# Each offset of a header which a server looks at, what it refuses there, and how. A wrong
# body length is of the body.
REFUSALS = [
    (0, 0, errors.BadRouting, 255),
    (0, 2, errors.BadRouting, 255),
    (1, 1, errors.BadSplit, 2),
    (2, 8, errors.WrongRaida, 3),
    (2, 25, errors.WrongRaida, 3),
    (3, 4, errors.BadShard, 4),
    (4, 0x4D, errors.UnknownGroup, 5),
    (5, 0x4D, errors.UnknownCommand, 6),
    (6, 1, errors.BadCoinId, 7),
    (7, 7, errors.BadCoinId, 7),
    (16, 3, errors.BadEncryption, 27),
    (16, 1, errors.UnknownKey, 34),
    (16, 2, errors.UnknownKey, 34),
    (22, 1, errors.BadLength, 16),
    (23, 0, errors.BadLength, 16),
]


@pytest.mark.parametrize(("offset", "value", "error", "status"), REFUSALS)
def test_a_header_field_is_refused(offset: int, value: int, error: type[errors.WireError], status: int) -> None:
    with pytest.raises(error) as caught:
        decode_request(altered(build().encode(), offset, value), raida=7)

    assert type(caught.value) is error
    assert caught.value.status == status


def test_the_first_fault_in_the_order_of_real_servers_is_told() -> None:
    order = [0, 1, 2, 4, 3, 5, 6, 16]
    faults = {offset: (value, error) for offset, value, error, _ in reversed(REFUSALS) if offset in order}
    for start in range(len(order)):
        data = build().encode()
        for offset in order[start:]:
            data = altered(data, offset, faults[offset][0])
        with pytest.raises(faults[order[start]][1]) as caught:
            decode_request(data, raida=7)
        assert type(caught.value) is faults[order[start]][1], order[start]


@pytest.mark.parametrize("shard", [0, 1, 2, 3])
def test_shards_up_to_three_are_read(shard: int) -> None:
    assert decode_request(build(shard=shard).encode()).header.shard == shard


@pytest.mark.parametrize("offset", [8, 9, 10, 11, 12, 13, 14, 15])
def test_fields_that_servers_do_not_look_at_are_kept(offset: int) -> None:
    data = altered(build().encode(), offset, 0xA5)

    assert decode_request(data).encode() == data


def test_a_server_of_fewer_commands_knows_no_others() -> None:
    data = build().encode()

    with pytest.raises(errors.UnknownGroup):
        decode_request(data, commands={Command.ECHO})
    with pytest.raises(errors.UnknownCommand):
        decode_request(data, commands={Command.PUT})
    assert decode_request(data, commands=ALL).header.command is Command.PEEK


def test_a_request_without_a_body_is_an_echo_or_empty() -> None:
    request = build(command=Command.ECHO, payload=b"", challenge12=None)

    assert len(request.encode()) == 32
    assert decode_request(request.encode()) == request
    with pytest.raises(errors.EmptyRequest) as caught:
        decode_request(altered(request.encode(), 5, Command.VERSION.code))
    assert caught.value.status == 36


@pytest.mark.parametrize("size", [1, 2, 17])
def test_a_body_too_short_for_a_challenge_has_the_wrong_length(size: int) -> None:
    header = RequestHeader(raida=7, group=0, code=0, body_length=size)

    with pytest.raises(errors.BadLength):
        decode_request(header.encode() + b"\x3e" * size)


def test_a_body_without_its_end_is_refused() -> None:
    data = build().encode()

    for offset in (-2, -1):
        with pytest.raises(errors.BadTerminator) as caught:
            decode_request(altered(data, offset, 0x3F))
        assert caught.value.status == 33


@pytest.mark.parametrize(("size", "fits"), [(0xFFFF - 19, True), (0xFFFF - 18, True), (0xFFFF - 17, False)])
def test_a_body_has_at_most_65535_bytes(size: int, fits: bool) -> None:
    if fits:
        assert decode_request(build(payload=bytes(size)).encode()).payload == bytes(size)
    else:
        with pytest.raises(errors.Unencodable):
            build(payload=bytes(size))


@pytest.mark.parametrize(
    "changes",
    [
        {"raida": -1},
        {"raida": 25},
        {"nonce": bytes(7)},
        {"nonce": bytes(9)},
        {"challenge12": bytes(11)},
        {"challenge12": None},
        {"challenge12": None, "payload": b""},
        {"challenge12": None, "command": Command.ECHO},
        {"shard": 256},
        {"presentation": -1},
        {"packet_index": 256},
        {"packet_count": 256},
    ],
)
def test_a_request_that_cannot_be_is_not_built(changes: dict[str, object]) -> None:
    with pytest.raises(errors.Unencodable):
        build(**changes)


@pytest.mark.parametrize("cipher", ENCRYPTIONS)
@pytest.mark.parametrize("payload", [None, b"", b"\x05", bytes(100)])
def test_an_answer_is_read_by_who_asked(cipher: encryption.Encryption, payload: bytes | None) -> None:
    request = build(encryption=cipher)

    data = frames.encode_response(
        request=request, status=Status.ALL_PASS, payload=payload, execution_microseconds=0x01020304
    )
    response = decode_response(data, request=request)

    assert data[:16].hex() == f"0700f10800010b0c00{len(data) - 32:06x}01020304"
    assert response.payload == (payload or b"")
    assert response.has_body is (payload is not None)
    assert response.signature == cipher.sign(request.challenge)
    assert response.execution_microseconds == 0x01020304
    assert response.encode(encrypt=cipher, nonce=NONCE) == data
    assert matches(response, request)


def test_the_answer_to_an_echo_without_body_counts_by_its_echo() -> None:
    request = build(command=Command.ECHO, payload=b"", challenge12=None)

    response = frames.answer(request, status=Status.SUCCESS)

    assert response.signature == bytes(16)
    assert matches(response, request)
    assert matches(dataclasses.replace(response, signature=KEY), request)
    assert not matches(dataclasses.replace(response, echo=b"\x00\x00"), request)


def refused_fields(response: Response) -> dict[str, Response]:
    return {
        "raida": dataclasses.replace(response, raida=8),
        "echo": dataclasses.replace(response, echo=b"\x0b\x0d"),
        "signature": dataclasses.replace(response, signature=KEY),
    }


@pytest.mark.parametrize("status", [*Status, 100])
def test_an_answer_counts_by_what_its_status_lets_it_know(status: int) -> None:
    request = build(encryption=ENCRYPTIONS[2])
    response = dataclasses.replace(frames.answer(request, status=Status.SUCCESS), status=status)
    assert matches(response, request)

    accepted = {name for name, other in refused_fields(response).items() if matches(other, request)}

    if status == Status.INVALID_RAIDA_ID:
        assert accepted == {"raida", "echo", "signature"}
    elif status in HEADER_STAGE:
        assert accepted == {"echo", "signature"}
    elif status in UNSIGNED:
        assert accepted == {"signature"}
    else:
        assert accepted == set()


def test_a_plain_signature_is_none_for_an_encrypted_request() -> None:
    request = build(encryption=ENCRYPTIONS[1])

    assert not matches(frames.answer(build(), status=Status.SUCCESS), request)


def test_an_answer_of_an_unknown_status_is_a_number() -> None:
    data = altered(frames.encode_response(request=build(), status=Status.SUCCESS), 2, 100)

    response = decode_response(data)

    assert response.status == 100
    assert not isinstance(response.status, Status)
    assert response.encode() == data


def test_an_answer_longer_or_shorter_than_it_says_is_refused() -> None:
    data = frames.encode_response(request=build(), status=Status.ALL_PASS, payload=b"\x01\x02")

    for cut in range(len(data)):
        with pytest.raises(errors.Truncated):
            decode_response(data[:cut])
    with pytest.raises(errors.BadLength):
        decode_response(data + b"\x00")
    with pytest.raises(errors.BadTerminator):
        decode_response(data[:-1] + b"\x00")
    with pytest.raises(errors.BadLength):
        decode_response(altered(data, 11, 1)[:33])


def test_the_size_of_an_answer_is_told_by_its_header() -> None:
    data = frames.encode_response(request=build(), status=Status.ALL_PASS, payload=bytes(1000))

    assert frames.response_size(data[:32]) == len(data)
    with pytest.raises(errors.Truncated):
        frames.response_size(data[:31])


def test_an_answer_too_long_for_its_size_field_is_not_made() -> None:
    response = frames.answer(build(), status=Status.ALL_PASS, payload=bytes(0xFFFFFF - 2))

    assert len(response.encode()) == 32 + 0xFFFFFF
    with pytest.raises(errors.Unencodable):
        dataclasses.replace(response, payload=bytes(0xFFFFFF - 1)).encode()


def test_an_unsupported_encryption_is_answered_with_either_header() -> None:
    request = build()
    narrow = frames.encode_response(request=request, status=Status.INVALID_ENCRYPTION_CODE)
    wide = altered(narrow, 5, 0) + bytes(range(16))

    assert decode_response(narrow).wide == b""
    response = decode_response(wide)
    assert (response.raida, response.status, response.wide) == (7, 27, bytes(range(16)))
    assert response.encode() == wide
    assert matches(response, request)
    assert frames.response_size(wide[:32]) == 48
    for size in range(48):
        with pytest.raises(errors.Truncated):
            decode_response(wide[:size])
    with pytest.raises(errors.BadLength):
        decode_response(wide + b"\x00")


def test_secrets_do_not_show_in_a_repr() -> None:
    request = build(encryption=ENCRYPTIONS[2], payload=KEY)
    response = decode_response(
        frames.encode_response(request=request, status=Status.ALL_PASS, payload=KEY), request=request
    )

    for shown in (repr(request), repr(request.header), repr(response)):
        assert repr(KEY)[2:-1] not in shown
        assert repr(KEY[:5])[2:-1] not in shown
    # The challenge and the signature of one exchange make its key.
    assert encryption.challenge(RANDOM12) == request.challenge
    assert repr(request.challenge)[2:-1] not in repr(request)
    assert repr(response.signature)[2:-1] not in repr(response)
