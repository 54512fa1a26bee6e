"""Any bytes are either accepted, and written again unchanged, or refused with a documented error."""

import contextlib
import os

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from lockers.localnet import wire
from lockers.localnet.payloads import verdicts
from lockers.raida import archives, codes, coins, encryption, errors, files, frames, grades, payloads
from lockers.raida.coins import Coin
from lockers.raida.commands import Command
from lockers.raida.files import CoinRecord
from lockers.raida.statuses import Status
from tests.localnet.requests import read_request, respond
from tests.raida import recorded

KEY = bytes(range(16))


def examples(count: int) -> settings:
    """Draw this many examples, the same in each run; with `COPPICE_FUZZ`, different ones each time."""
    return settings(max_examples=count, deadline=None, derandomize="COPPICE_FUZZ" not in os.environ)


REQUEST_BYTES = [exchange.request for exchange in recorded.exchanges() if len(exchange.request) < 300]
ANSWER_BYTES = [exchange.answer for exchange in recorded.exchanges()]
FILE_BYTES = [
    bytes.fromhex(vector["expected_hex"]) for prefix in (".bin format 9 ", "go: ") for vector in recorded.named(prefix)
]


@st.composite
def mutations(draw: st.DrawFn, originals: list[bytes]) -> bytes:
    """Recorded bytes with a few changed, removed or inserted."""
    data = bytearray(draw(st.sampled_from(originals)))
    for _ in range(draw(st.integers(0, 4))):
        start = draw(st.integers(0, len(data)))
        end = draw(st.integers(start, min(len(data), start + 3)))
        data[start:end] = draw(st.binary(max_size=3))
    return bytes(data)


numbers = st.binary(min_size=16, max_size=16)
some_coins = st.builds(Coin, st.integers(-8, 6), st.integers(0, 2**32 - 1))


@examples(300)
@given(st.binary(max_size=100) | mutations(REQUEST_BYTES), st.booleans())
def test_a_request_is_read_or_refused(data: bytes, knows_keys: bool) -> None:
    with contextlib.suppress(wire.Refused):
        request = read_request(data, lambda kind, reference: KEY if knows_keys else None)
        assert request.encode() == recorded.as_ours(data[: request.size])


QUESTION = frames.build_request(raida=0, command=Command.PEEK, challenge12=bytes(12))


@examples(300)
@given(st.binary(max_size=100) | mutations(ANSWER_BYTES))
def test_an_answer_is_read_or_refused(data: bytes) -> None:
    with contextlib.suppress(errors.WireError):
        response = frames.decode_response(data, request=QUESTION)
        assert (response.raida, response.status, response.echo) == (data[0], data[2], data[6:8])
        assert (response.signature, response.payload) == (data[16:32], data[32:-2] if data[4:6] == b"\0\1" else b"")


@examples(200)
@given(
    raida=st.integers(0, 24),
    command=st.sampled_from(list(Command)),
    payload=st.binary(max_size=200),
    random12=st.binary(min_size=12, max_size=12),
    nonce=st.binary(min_size=8, max_size=8) | st.just(b"\xff" * 8),
    kind=st.integers(0, 2),
    key=numbers,
    reply=st.none() | st.binary(max_size=200),
)
def test_what_is_built_is_read_by_the_other_side(
    raida: int,
    command: Command,
    payload: bytes,
    random12: bytes,
    nonce: bytes,
    kind: int,
    key: bytes,
    reply: bytes | None,
) -> None:
    cipher = encryption.Encryption(kind, key[:5], key if kind else b"")
    request = frames.build_request(
        raida=raida, command=command, payload=payload, challenge12=random12, nonce=nonce, encryption=cipher
    )

    received = read_request(request.encode(), lambda kind, reference: key)
    answer = respond(request.encode(), Status.ALL_PASS, reply, lambda kind, reference: key)
    response = frames.decode_response(answer, request=request)

    assert received == request
    assert response.payload == (reply or b"")
    assert frames.matches(response, request)


REPLY_READERS = [
    lambda status, payload, count: payloads.decode_verdicts(status, payload, count=count),
    lambda status, payload, count: payloads.decode_verdict(status, payload),
    lambda status, payload, count: payloads.decode_done(status, payload),
    lambda status, payload, count: payloads.decode_get_ticket_reply(status, payload, count=count),
    lambda status, payload, count: payloads.decode_find_reply(status, payload, count=count),
    lambda status, payload, count: payloads.decode_peek_reply(status, payload),
    lambda status, payload, count: payloads.decode_remove_reply(status, payload, count=count),
    lambda status, payload, count: payloads.decode_get_available_sns_reply(status, payload),
]


@examples(400)
@given(st.sampled_from(REPLY_READERS), st.sampled_from([*Status, 100]), st.binary(max_size=40), st.integers(1, 40))
def test_a_reply_is_read_or_refused(reader: object, status: int, data: bytes, count: int) -> None:
    with contextlib.suppress(errors.WireError):
        reader(status, data, count)


@examples(200)
@given(st.lists(st.booleans(), min_size=1, max_size=100))
def test_verdicts_of_the_local_network_come_back(passed: list[bool]) -> None:
    status, payload = verdicts(passed)
    assert payloads.decode_verdicts(status, payload or b"", count=len(passed)) == tuple(passed)


@examples(300)
@given(st.binary(max_size=100) | mutations(FILE_BYTES))
def test_a_coin_file_is_read_or_refused(data: bytes) -> None:
    with contextlib.suppress(errors.CoinFileError):
        assert files.read_file(data).coins


records = st.builds(
    CoinRecord,
    some_coins,
    st.lists(numbers, min_size=25, max_size=25).map(tuple),
    st.none() | st.lists(numbers, min_size=25, max_size=25).map(tuple),
    st.none() | st.text("pfnuedb", min_size=25, max_size=25),
)


@examples(50)
@given(st.lists(records, min_size=1, max_size=3, unique_by=lambda record: record.coin))
def test_coins_come_back_from_every_kind_of_file(written: list[CoinRecord]) -> None:
    with_numbers = [(record.coin, record.ans, record.pans) for record in written]
    kinds = [files.write_stack(written), archives.write_zip([archives.Member("all.stack", files.write_stack(written))])]
    if len({record.pans is None for record in written}) == 1:
        kinds += [files.write_bin(written), files.write_png(written)]

    for data in kinds:
        assert [(record.coin, record.ans, record.pans) for record in files.read_file(data).coins] == with_numbers


@examples(100)
@given(st.text(max_size=20) | st.from_regex(r"[0-9A-Z.-]{1,20}", fullmatch=True))
def test_a_text_is_a_code_and_an_amount_or_refused(text: str) -> None:
    with contextlib.suppress(errors.InvalidCode):
        assert all(len(codes.locker_keys(code)) == 25 for code in codes.candidates(text))
    with contextlib.suppress(errors.InvalidAmount):
        assert coins.parse_amount(coins.format_amount(coins.parse_amount(text))) == coins.parse_amount(text)
    assert codes.is_weak(text) in (True, False)


@examples(100)
@given(st.integers(0, 10**30))
def test_an_amount_comes_back(units: int) -> None:
    assert coins.parse_amount(coins.format_amount(units)) == units


@examples(200)
@given(st.text("pfnuedb", min_size=25, max_size=25))
def test_a_pown_string_comes_back_and_has_a_grade(pown: str) -> None:
    assert grades.decode_pown(grades.encode_pown(pown)) == pown
    assert grades.grade(pown) in grades.Grade


@pytest.mark.parametrize("status", range(256))
def test_every_status_byte_is_read(status: int) -> None:
    data = bytes((0, 0, status, 0, 0, 1)) + bytes(26)

    assert frames.decode_response(data, request=QUESTION).status == status
