import dataclasses

import pytest

from lockers.raida import encryption, errors, frames
from lockers.raida.coins import Coin
from lockers.raida.commands import Command
from lockers.raida.encryption import PLAIN
from lockers.raida.frames import Response, build_request, decode_response, matches
from lockers.raida.statuses import HEADER_STAGE, UNSIGNED, Status
from tests.localnet.requests import read_request, respond

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
    assert request.echo == b"\x0b\x0c"


@pytest.mark.parametrize(("size", "fits"), [(0xFFFF - 19, True), (0xFFFF - 18, True), (0xFFFF - 17, False)])
def test_a_body_has_at_most_65535_bytes(size: int, fits: bool) -> None:
    if fits:
        assert read_request(build(payload=bytes(size)).encode()).payload == bytes(size)
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
    ],
)
def test_a_request_that_cannot_be_is_not_built(changes: dict[str, object]) -> None:
    with pytest.raises(errors.Unencodable):
        build(**changes)


@pytest.mark.parametrize("cipher", ENCRYPTIONS)
@pytest.mark.parametrize("payload", [None, b"", b"\x05", bytes(100)])
def test_an_answer_is_read_by_who_asked(cipher: encryption.Encryption, payload: bytes | None) -> None:
    request = build(encryption=cipher)

    data = respond(request.encode(), 241, payload, lambda kind, reference: KEY)
    response = decode_response(data, request=request)

    assert data[:16].hex() == f"0700f10800010b0c00{len(data) - 32:06x}00000000"
    assert response == Response(
        raida=7,
        status=Status.ALL_PASS,
        echo=b"\x0b\x0c",
        signature=cipher.sign(request.challenge),
        payload=payload or b"",
    )
    assert matches(response, request)


def answer_to(request: frames.Request) -> Response:
    return decode_response(respond(request.encode(), 250, None, lambda kind, reference: KEY), request=request)


def refused_fields(response: Response) -> dict[str, Response]:
    return {
        "raida": dataclasses.replace(response, raida=8),
        "echo": dataclasses.replace(response, echo=b"\x0b\x0d"),
        "signature": dataclasses.replace(response, signature=KEY),
    }


@pytest.mark.parametrize("status", [*Status, 100])
def test_an_answer_counts_by_what_its_status_lets_it_know(status: int) -> None:
    request = build(encryption=ENCRYPTIONS[2])
    response = dataclasses.replace(answer_to(request), status=status)
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

    assert not matches(answer_to(build()), request)


def test_an_answer_of_an_unknown_status_is_a_number() -> None:
    response = decode_response(altered(respond(build().encode(), 250), 2, 100), request=build())

    assert response.status == 100
    assert not isinstance(response.status, Status)


def test_an_answer_longer_or_shorter_than_it_says_is_refused() -> None:
    data = respond(build().encode(), 241, b"\x01\x02")

    for cut in range(len(data)):
        with pytest.raises(errors.Truncated):
            decode_response(data[:cut], request=build())
    with pytest.raises(errors.BadLength):
        decode_response(data + b"\x00", request=build())
    with pytest.raises(errors.BadTerminator):
        decode_response(data[:-1] + b"\x00", request=build())
    with pytest.raises(errors.BadLength):
        decode_response(altered(data, 11, 1)[:33], request=build())


def test_the_size_of_an_answer_is_told_by_its_header() -> None:
    data = respond(build().encode(), 241, bytes(1000))

    assert frames.response_size(data[:32]) == len(data)
    with pytest.raises(errors.Truncated):
        frames.response_size(data[:31])


def test_an_unsupported_encryption_is_answered_with_either_header() -> None:
    request = build()
    narrow = altered(respond(request.encode(), 250), 2, Status.INVALID_ENCRYPTION_CODE)
    wide = altered(narrow, 5, 0) + bytes(range(16))

    for data in (narrow, wide):
        response = decode_response(data, request=request)
        assert (response.raida, response.status, response.payload) == (7, 27, b"")
        assert matches(response, request)
    assert frames.response_size(wide[:32]) == 48
    for size in range(48):
        with pytest.raises(errors.Truncated):
            decode_response(wide[:size], request=request)
    with pytest.raises(errors.BadLength):
        decode_response(wide + b"\x00", request=request)


def test_secrets_do_not_show_in_a_repr() -> None:
    request = build(encryption=ENCRYPTIONS[2], payload=KEY)
    response = decode_response(respond(request.encode(), 241, KEY, lambda kind, reference: KEY), request=request)

    for shown in (repr(request), repr(response)):
        assert repr(KEY)[2:-1] not in shown
        assert repr(KEY[:5])[2:-1] not in shown
    # The challenge and the signature of one exchange make its key.
    assert encryption.challenge(RANDOM12) == request.challenge
    assert repr(request.challenge)[2:-1] not in repr(request)
    assert repr(response.signature)[2:-1] not in repr(response)
