from collections.abc import Callable

import pytest

from lockers.raida import errors, payloads
from lockers.raida.coins import Coin
from lockers.raida.payloads import (
    Found,
    SerialsOperation,
    SerialsReply,
    TicketReply,
)
from lockers.raida.statuses import Status
from tests.localnet import requests
from tests.localnet.requests import CoinAn, CoinAnPan
from tests.support.codec_samples import AN_RECORDS, COINS, PAN_RECORDS, REQUESTS, TICKETS


@pytest.mark.parametrize("name", REQUESTS)
def test_a_request_has_the_documented_bytes(name: str) -> None:
    built, expected = REQUESTS[name]

    assert built == bytes.fromhex(expected)


@pytest.mark.parametrize(
    "build",
    [
        lambda: requests.detect([]),
        lambda: requests.detect([CoinAn(COINS[0], bytes(15))]),
        lambda: requests.pown([CoinAnPan(COINS[0], bytes(16), bytes(17))]),
        lambda: payloads.encode_records([], []),
        lambda: payloads.encode_records([bytes(5)], [bytes(16), bytes(16)]),
        lambda: payloads.encode_records([bytes(5)], [bytes(15)]),
        lambda: payloads.encode_records([bytes(6)], [bytes(16)]),
        lambda: payloads.encode_fix(COINS, bytes(16), TICKETS[:24]),
        lambda: payloads.encode_fix(COINS, bytes(16), (*TICKETS, 25)),
        lambda: payloads.encode_fix(COINS, bytes(16), (*TICKETS[:24], 2**32)),
        lambda: payloads.encode_fix(COINS, bytes(16), (*TICKETS[:24], -1)),
        lambda: payloads.encode_create_coins(COINS, bytes(15)),
        lambda: payloads.encode_create_coins([], bytes(16)),
        lambda: payloads.encode_peek(bytes(17)),
        lambda: payloads.encode_get_available_sns(0, SerialsOperation.BREAK, 7),
        lambda: requests.change(0, AN_RECORDS[9], PAN_RECORDS[:11]),
        lambda: requests.change(0, PAN_RECORDS[9], AN_RECORDS[:9]),
    ],
)
def test_a_payload_that_cannot_be_is_not_built(build: Callable[[], object]) -> None:
    with pytest.raises(errors.Unencodable):
        build()


# Answers.


@pytest.mark.parametrize(
    ("passed", "status", "payload"),
    [
        ([True], 241, None),
        ([False], 242, None),
        ([True, False], 243, "01"),
        ([False, True], 243, "02"),
        ([True] * 7 + [False], 243, "7f"),
        ([True] * 8 + [False], 243, "ff00"),
        ([False] * 8 + [True], 243, "0001"),
        ([False] * 16 + [True], 243, "000001"),
    ],
)
def test_verdicts_are_bits_from_the_lowest_only_if_mixed(passed: list[bool], status: int, payload: str | None) -> None:
    encoded = bytes.fromhex(payload) if payload else None

    assert payloads.decode_verdicts(status, encoded or b"", count=len(passed)) == tuple(passed)


@pytest.mark.parametrize(("count", "size"), [(1, 1), (7, 1), (8, 1), (9, 2), (16, 2), (17, 3)])
def test_a_bitmap_has_a_bit_per_coin_and_no_byte_more(count: int, size: int) -> None:
    assert payloads.decode_verdicts(Status.MIXED, bytes(size), count=count) == (False,) * count
    for other in (size - 1, size + 1, size + 4):
        with pytest.raises(errors.BadLength):
            payloads.decode_verdicts(Status.MIXED, bytes(other), count=count)


def test_bits_beyond_the_last_coin_mean_nothing() -> None:
    assert payloads.decode_verdicts(Status.MIXED, b"\xf5", count=4) == (True, False, True, False)


@pytest.mark.parametrize("status", [Status.ALL_PASS, Status.ALL_FAIL])
def test_a_verdict_on_all_has_no_body(status: Status) -> None:
    with pytest.raises(errors.BadLength):
        payloads.decode_verdicts(status, b"\x01", count=1)


def test_a_sum_passes_or_fails_as_a_whole() -> None:
    assert payloads.decode_verdict(Status.ALL_PASS, b"") is True
    assert payloads.decode_verdict(Status.ALL_FAIL, b"") is False
    with pytest.raises(errors.UnexpectedStatus):
        payloads.decode_verdict(Status.MIXED, b"\x01")


@pytest.mark.parametrize("status", [Status.SUCCESS, Status.ALL_PASS])
def test_a_change_is_done_without_a_body(status: Status) -> None:
    payloads.decode_done(status, b"")
    with pytest.raises(errors.BadLength):
        payloads.decode_done(status, b"\x00")


@pytest.mark.parametrize(
    ("passed", "status", "payload"),
    [
        ([True, True], 241, "01020304"),
        ([False, True], 243, "0201020304"),
        ([True] * 8 + [False], 243, "ff0001020304"),
        ([False, False], 242, None),
    ],
)
def test_a_ticket_comes_behind_the_bitmap(passed: list[bool], status: int, payload: str | None) -> None:
    encoded = bytes.fromhex(payload) if payload else None
    ticket = 0x01020304 if payload else None

    reply = payloads.decode_get_ticket_reply(status, encoded or b"", count=len(passed))
    assert reply == TicketReply(tuple(passed), ticket)
    for size in range(len(encoded or b"")):
        with pytest.raises(errors.BadLength):
            payloads.decode_get_ticket_reply(status, encoded[:size], count=len(passed))


def test_no_coin_that_passed_has_no_ticket() -> None:
    with pytest.raises(errors.BadLength):
        payloads.decode_get_ticket_reply(Status.ALL_FAIL, bytes(4), count=1)


@pytest.mark.parametrize(
    ("found", "status", "payload"),
    [
        ([Found.NEITHER, Found.NEITHER], 208, None),
        ([Found.AN], 209, None),
        ([Found.PAN, Found.PAN], 210, None),
        ([Found.AN, Found.NEITHER, Found.PAN], 211, "010002"),
    ],
)
def test_what_is_found_is_a_byte_per_coin_only_if_mixed(found: list[Found], status: int, payload: str | None) -> None:
    encoded = bytes.fromhex(payload) if payload else None

    assert payloads.decode_find_reply(status, encoded or b"", count=len(found)) == tuple(found)


def test_what_is_found_is_one_of_three_for_each_coin() -> None:
    with pytest.raises(errors.BadPayload):
        payloads.decode_find_reply(Status.FIND_MIXED, b"\x01\x03", count=2)
    for size in (1, 3):
        with pytest.raises(errors.BadLength):
            payloads.decode_find_reply(Status.FIND_MIXED, bytes(size), count=2)
    with pytest.raises(errors.BadLength):
        payloads.decode_find_reply(Status.FIND_ALL_AN, b"\x01", count=1)


def test_an_empty_locker_is_not_told_from_none() -> None:
    for status in (Status.ALL_FAIL, Status.LOCKER_EMPTY_OR_NOT_EXISTS):
        assert payloads.decode_peek_reply(status, b"") == ()
        with pytest.raises(errors.BadLength):
            payloads.decode_peek_reply(status, bytes(5))


@pytest.mark.parametrize("count", [1, 2, 600])
def test_a_locker_is_listed_in_its_order_and_with_its_repetitions(count: int) -> None:
    coins = tuple(Coin(0, index // 2) for index in range(count))

    payload = b"".join(coin.to_bytes() for coin in coins)

    assert payloads.encode_coins(coins) == payload
    assert payloads.decode_peek_reply(Status.ALL_PASS, payload) == coins
    with pytest.raises(errors.NotDivisible):
        payloads.decode_peek_reply(Status.ALL_PASS, payload + b"\x00")


def test_a_full_locker_lists_a_coin() -> None:
    with pytest.raises(errors.BadLength):
        payloads.decode_peek_reply(Status.ALL_PASS, b"")


def test_a_peek_succeeds_with_either_status() -> None:
    for either in (Status.ALL_PASS, Status.SUCCESS):
        assert payloads.decode_peek_reply(either, payloads.encode_coins(COINS)) == COINS


@pytest.mark.parametrize(
    ("passed", "status", "bitmap"),
    [
        ((True,), 241, "01"),
        ((False,), 242, "00"),
        ((True, False), 243, "01"),
        ((True,) * 7, 241, "7f"),
        ((True,) * 8, 241, "ff00"),
        ((True,) * 8 + (False,), 243, "ff00"),
        ((False,) * 15 + (True,), 243, "008000"),
    ],
)
def test_a_remove_has_a_bitmap_whatever_its_status(passed: tuple[bool, ...], status: int, bitmap: str) -> None:
    assert payloads.decode_remove_reply(status, bytes.fromhex(bitmap), count=len(passed)) == passed
    with pytest.raises(errors.BadLength):
        payloads.decode_remove_reply(status, bytes.fromhex(bitmap) + b"\x00", count=len(passed))


@pytest.mark.parametrize("status", [Status.ALL_FAIL, Status.LOCKER_EMPTY_OR_NOT_EXISTS])
def test_a_remove_from_no_locker_has_no_bitmap(status: Status) -> None:
    assert payloads.decode_remove_reply(status, b"", count=2) == (False, False)


def test_a_remove_that_took_some_says_which() -> None:
    with pytest.raises(errors.BadLength):
        payloads.decode_remove_reply(Status.MIXED, b"", count=1)


@pytest.mark.parametrize(
    ("status", "bitmap", "passed"),
    [(241, "", (True,) * 8), (241, "ff", (True,) * 8), (243, "7f", (True,) * 7 + (False,)), (242, "00", (False,) * 8)],
)
def test_a_remove_is_understood_in_fewer_bytes(status: int, bitmap: str, passed: tuple[bool, ...]) -> None:
    assert payloads.decode_remove_reply(status, bytes.fromhex(bitmap), count=8) == passed


@pytest.mark.parametrize(("status", "bitmap"), [(Status.ALL_PASS, b"\x01"), (Status.ALL_FAIL, b"\x01")])
def test_a_remove_that_contradicts_itself_is_refused(status: Status, bitmap: bytes) -> None:
    with pytest.raises(errors.BadPayload):
        payloads.decode_remove_reply(status, bitmap, count=2)


@pytest.mark.parametrize("count", [0, 1, 63, 64])
def test_up_to_64_serial_numbers_are_free(count: int) -> None:
    reply = SerialsReply(-1, tuple(range(0xFFFFFF00, 0xFFFFFF00 + count)))

    payload = b"\xff" + b"".join(bytes((255, 255, 255, index)) for index in range(count))

    assert payloads.decode_get_available_sns_reply(Status.SUCCESS, payload) == reply


def test_serial_numbers_beyond_64_or_in_part_are_refused() -> None:
    for size in (0, 1 + 4 * 65):
        with pytest.raises(errors.BadLength):
            payloads.decode_get_available_sns_reply(Status.SUCCESS, bytes(size))
    for size in (2, 3, 4, 6):
        with pytest.raises(errors.NotDivisible):
            payloads.decode_get_available_sns_reply(Status.SUCCESS, bytes(size))
    with pytest.raises(errors.BadCoin):
        payloads.decode_get_available_sns_reply(Status.SUCCESS, b"\x07")


@pytest.mark.parametrize(
    "decode",
    [
        lambda status: payloads.decode_verdicts(status, b"", count=1),
        lambda status: payloads.decode_verdict(status, b""),
        lambda status: payloads.decode_done(status, b""),
        lambda status: payloads.decode_get_ticket_reply(status, bytes(4), count=1),
        lambda status: payloads.decode_find_reply(status, b"", count=1),
        lambda status: payloads.decode_peek_reply(status, bytes(5)),
        lambda status: payloads.decode_remove_reply(status, b"\x00", count=1),
        lambda status: payloads.decode_get_available_sns_reply(status, b"\x00"),
    ],
)
@pytest.mark.parametrize("status", [Status.NO_ERROR, Status.INTERNAL, Status.INVALID_COMMAND, 100])
def test_an_error_status_is_no_reply(decode: Callable[[int], object], status: int) -> None:
    with pytest.raises(errors.UnexpectedStatus):
        decode(status)


def test_no_ticket_shows_in_a_repr() -> None:
    assert str(0xABABABAB) not in repr(TicketReply((True,), 0xABABABAB))
