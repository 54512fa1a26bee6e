from collections.abc import Callable
from typing import Any

import pytest

from lockers.raida import errors, payloads
from lockers.raida.coins import Coin
from lockers.raida.payloads import (
    BreakRequest,
    CoinAn,
    CoinAnPan,
    CoinPan,
    CoinsSum,
    CreationRequest,
    DownloadRequest,
    FixRequest,
    Found,
    JoinRequest,
    LockerDeposit,
    MakeChangeRequest,
    PownSum,
    RemoveReply,
    RemoveRequest,
    SerialsOperation,
    SerialsReply,
    SerialsRequest,
    TicketCheck,
    TicketReply,
)
from lockers.raida.statuses import Status


def number(byte: int) -> bytes:
    return bytes((byte,)) * 16


KEY = bytes(range(12)) + b"\xff" * 4
COINS = tuple(Coin(denomination, 100 + denomination) for denomination in range(-8, 7))
AN_RECORDS = tuple(CoinAn(coin, number(index)) for index, coin in enumerate(COINS))
PAN_RECORDS = tuple(CoinPan(coin, number(index)) for index, coin in enumerate(COINS))
AN_PAN_RECORDS = tuple(CoinAnPan(coin, number(index), number(0xF0 + index)) for index, coin in enumerate(COINS))
TICKETS = tuple(range(25))

# A request of every command: what it means, how it is written and read, how many bytes it
# has beside its list, and how many a record of the list; 0 for payloads of one size.
REQUESTS: dict[str, tuple[Any, Callable[[Any], bytes], Callable[[bytes], Any], int, int]] = {
    "detect": (AN_RECORDS, payloads.encode_detect, payloads.decode_detect, 0, 21),
    "detect sum": (CoinsSum(COINS, number(1)), payloads.encode_detect_sum, payloads.decode_detect_sum, 16, 5),
    "pown": (AN_PAN_RECORDS, payloads.encode_pown, payloads.decode_pown, 0, 37),
    "pown sum": (PownSum(COINS, number(1), number(2)), payloads.encode_pown_sum, payloads.decode_pown_sum, 32, 5),
    "get ticket": (AN_RECORDS, payloads.encode_get_ticket, payloads.decode_get_ticket, 0, 21),
    "get ticket sum": (
        CoinsSum(COINS, number(1)),
        payloads.encode_get_ticket_sum,
        payloads.decode_get_ticket_sum,
        16,
        5,
    ),
    "validate ticket": (
        TicketCheck(24, 0xFFFFFFFF),
        payloads.encode_validate_ticket,
        payloads.decode_validate_ticket,
        5,
        0,
    ),
    "find": (AN_PAN_RECORDS, payloads.encode_find, payloads.decode_find, 0, 37),
    "fix": (FixRequest(COINS, number(1), TICKETS), payloads.encode_fix, payloads.decode_fix, 116, 5),
    "create coins": (
        CreationRequest(COINS, number(1)),
        payloads.encode_create_coins,
        payloads.decode_create_coins,
        20,
        5,
    ),
    "put": (LockerDeposit(COINS, number(1), KEY), payloads.encode_put_sum, payloads.decode_put, 32, 5),
    "peek": (KEY, payloads.encode_peek, payloads.decode_peek, 16, 0),
    "remove": (RemoveRequest(KEY, PAN_RECORDS), payloads.encode_remove, payloads.decode_remove, 16, 21),
    "store without sum": (
        AN_PAN_RECORDS,
        payloads.encode_store_without_sum,
        payloads.decode_store_without_sum,
        0,
        37,
    ),
    "download": (DownloadRequest(KEY, number(2)), payloads.encode_download, payloads.decode_download, 32, 0),
    "make change": (
        MakeChangeRequest(AN_RECORDS[9], 40_000, tuple(map(number, range(10)))),
        payloads.encode_make_change,
        payloads.decode_make_change,
        185,
        0,
    ),
    "get available sns": (
        SerialsRequest(0xFFFFFFFF, SerialsOperation.JOIN, -8),
        payloads.encode_get_available_sns,
        payloads.decode_get_available_sns,
        6,
        0,
    ),
    "break": (BreakRequest(7, AN_RECORDS[9], PAN_RECORDS[:10]), payloads.encode_break, payloads.decode_break, 235, 0),
    "join": (JoinRequest(7, PAN_RECORDS[9], AN_RECORDS[:10]), payloads.encode_join, payloads.decode_join, 235, 0),
}

every_request = pytest.mark.parametrize("name", REQUESTS)


@every_request
def test_a_payload_is_read_as_it_was_written(name: str) -> None:
    request, encode, decode, fixed, record = REQUESTS[name]

    data = encode(request)

    assert len(data) == fixed + record * len(COINS)
    assert decode(data) == request
    assert encode(decode(data)) == data


@every_request
def test_a_payload_cut_anywhere_is_refused_or_a_shorter_list(name: str) -> None:
    request, encode, decode, fixed, record = REQUESTS[name]
    data = encode(request)
    # A put that is cut inside a record is not divisible before its key is looked at, and one
    # cut between two has the wrong key; the other lists lose their last records.
    shorter = errors.BadLockerKey if name == "put" else None

    for size in range(len(data)):
        if size < fixed + record or record == 0:
            expected = errors.BadLength
        elif (size - fixed) % record:
            expected = errors.NotDivisible
        else:
            expected = shorter
        if expected is None:
            assert encode(decode(data[:size])) == data[:size]
            continue
        with pytest.raises(expected) as caught:
            decode(data[:size])
        assert type(caught.value) is expected
        assert caught.value.status in (16, 39, 199)


@every_request
def test_a_payload_with_a_byte_more_is_refused(name: str) -> None:
    request, encode, decode, _, record = REQUESTS[name]

    with pytest.raises(errors.NotDivisible if record else errors.BadLength):
        decode(encode(request) + b"\x00")


@pytest.mark.parametrize("name", [name for name in REQUESTS if REQUESTS[name][4]])
def test_a_list_has_at_least_one_record(name: str) -> None:
    _, _, decode, fixed, _ = REQUESTS[name]

    with pytest.raises(errors.BadLength):
        decode(bytes(fixed))


@pytest.mark.parametrize("name", [name for name in REQUESTS if REQUESTS[name][4] or "break" in name or "join" in name])
def test_a_coin_of_no_denomination_is_refused(name: str) -> None:
    request, encode, decode, _, _ = REQUESTS[name]
    data = bytearray(encode(request))
    data[data.index(COINS[0].to_bytes())] = 0x07

    with pytest.raises(errors.BadCoin) as caught:
        decode(bytes(data))

    assert caught.value.status == 40


@pytest.mark.parametrize(
    "build",
    [
        lambda: payloads.encode_detect([]),
        lambda: payloads.encode_detect([CoinAn(COINS[0], bytes(15))]),
        lambda: payloads.encode_pown([CoinAnPan(COINS[0], bytes(16), bytes(17))]),
        lambda: payloads.encode_detect_sum(CoinsSum((), bytes(16))),
        lambda: payloads.encode_detect_sum(CoinsSum(COINS, bytes(15))),
        lambda: payloads.encode_pown_sum(PownSum(COINS, bytes(16), bytes(15))),
        lambda: payloads.encode_validate_ticket(TicketCheck(256, 1)),
        lambda: payloads.encode_validate_ticket(TicketCheck(1, 2**32)),
        lambda: payloads.encode_validate_ticket(TicketCheck(1, -1)),
        lambda: payloads.encode_fix(FixRequest(COINS, bytes(16), TICKETS[:24])),
        lambda: payloads.encode_fix(FixRequest(COINS, bytes(16), (*TICKETS, 25))),
        lambda: payloads.encode_create_coins(CreationRequest(COINS, bytes(15))),
        lambda: payloads.encode_put(AN_RECORDS, bytes(16)),
        lambda: payloads.encode_put(AN_RECORDS, KEY[1:]),
        lambda: payloads.encode_put([], KEY),
        lambda: payloads.encode_put([AN_RECORDS[0], AN_RECORDS[1], CoinAn(COINS[0], bytes(16))], KEY),
        lambda: payloads.encode_peek(bytes(17)),
        lambda: payloads.encode_remove(RemoveRequest(KEY, ())),
        lambda: payloads.encode_store_multiple([]),
        lambda: payloads.encode_store_multiple([LockerDeposit((), bytes(16), KEY)]),
        lambda: payloads.encode_store_multiple([LockerDeposit(COINS, bytes(16), KEY)] * 256),
        lambda: payloads.encode_store_multiple([LockerDeposit(COINS[:1] * 65_536, bytes(16), KEY)]),
        lambda: payloads.encode_download(DownloadRequest(KEY, bytes(15))),
        lambda: payloads.encode_make_change(MakeChangeRequest(AN_RECORDS[0], 1, tuple(map(number, range(9))))),
        lambda: payloads.encode_get_available_sns(SerialsRequest(0, SerialsOperation.BREAK, 7)),
        lambda: payloads.encode_break(BreakRequest(0, AN_RECORDS[9], PAN_RECORDS[:11])),
        lambda: payloads.encode_join(JoinRequest(0, PAN_RECORDS[9], AN_RECORDS[:9])),
        lambda: payloads.encode_get_available_sns_reply(SerialsReply(0, (1,) * 65)),
        lambda: payloads.encode_version_reply("2025032"),
        lambda: payloads.encode_version_reply("2025032\n"),
        lambda: payloads.encode_version_reply("2025032é"),
    ],
)
def test_a_payload_that_cannot_be_is_not_built(build: Callable[[], object]) -> None:
    with pytest.raises(errors.Unencodable):
        build()


def test_echo_and_version_have_no_payload() -> None:
    assert payloads.encode_empty() == b""
    payloads.decode_empty(b"")
    with pytest.raises(errors.BadLength):
        payloads.decode_empty(b"\x00")


def test_a_put_carries_the_sum_of_its_numbers() -> None:
    data = payloads.encode_put(AN_RECORDS[:2], KEY)

    assert data == COINS[0].to_bytes() + COINS[1].to_bytes() + number(0 ^ 1) + KEY


def test_the_server_reads_a_coin_that_is_there_twice() -> None:
    request = LockerDeposit(COINS[:1] * 2, bytes(16), KEY)

    assert payloads.decode_put(payloads.encode_put_sum(request)) == request


def test_several_lockers_are_stored_at_once() -> None:
    deposits = (LockerDeposit(COINS[:1], number(1), KEY), LockerDeposit(COINS[1:], number(2), number(3)))

    data = payloads.encode_store_multiple(deposits)

    assert data[:3] == b"\x02\x00\x01"
    assert payloads.decode_store_multiple(data) == deposits
    for size in range(len(data)):
        with pytest.raises(errors.BadLength):
            payloads.decode_store_multiple(data[:size])
    with pytest.raises(errors.BadLength):
        payloads.decode_store_multiple(data + b"\x00")


@pytest.mark.parametrize("data", [b"", b"\x00", b"\x01\x00\x00" + bytes(32)])
def test_no_locker_or_no_coin_is_not_stored(data: bytes) -> None:
    with pytest.raises(errors.BadLength):
        payloads.decode_store_multiple(data)


@pytest.mark.parametrize("operation", [0, 3, 255])
def test_serial_numbers_are_wanted_for_one_of_two_things(operation: int) -> None:
    with pytest.raises(errors.BadPayload):
        payloads.decode_get_available_sns(bytes((0, 0, 0, 1, operation, 0)))


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

    assert payloads.encode_verdicts(passed) == (status, encoded)
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


def test_a_version_is_eight_characters() -> None:
    assert payloads.encode_version_reply("20250323") == (250, b"20250323")
    assert payloads.decode_version_reply(250, b"20250323") == "20250323"
    for payload in (b"2025032", b"202503233"):
        with pytest.raises(errors.BadLength):
            payloads.decode_version_reply(250, payload)
    for payload in (b"2025032\x00", b"2025032\xe9"):
        with pytest.raises(errors.BadPayload):
            payloads.decode_version_reply(250, payload)


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

    assert payloads.encode_get_ticket_reply(passed, 0x01020304) == (status, encoded)
    reply = payloads.decode_get_ticket_reply(status, encoded or b"", count=len(passed))
    assert reply == TicketReply(tuple(passed), ticket)
    for size in range(len(encoded or b"")):
        with pytest.raises(errors.BadLength):
            payloads.decode_get_ticket_reply(status, encoded[:size], count=len(passed))


def test_no_coin_that_passed_has_no_ticket() -> None:
    with pytest.raises(errors.BadLength):
        payloads.decode_get_ticket_reply(Status.ALL_FAIL, bytes(4), count=1)


def test_a_valid_ticket_names_its_coins() -> None:
    status, payload = payloads.encode_validate_ticket_reply(COINS)

    assert status == 250
    assert payloads.decode_validate_ticket_reply(status, payload) == COINS
    with pytest.raises(errors.NotDivisible):
        payloads.decode_validate_ticket_reply(status, payload[:-1])


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

    assert payloads.encode_find_reply(found) == (status, encoded)
    assert payloads.decode_find_reply(status, encoded or b"", count=len(found)) == tuple(found)


def test_what_is_found_is_one_of_three_for_each_coin() -> None:
    with pytest.raises(errors.BadPayload):
        payloads.decode_find_reply(Status.FIND_MIXED, b"\x01\x03", count=2)
    for size in (1, 3):
        with pytest.raises(errors.BadLength):
            payloads.decode_find_reply(Status.FIND_MIXED, bytes(size), count=2)
    with pytest.raises(errors.BadLength):
        payloads.decode_find_reply(Status.FIND_ALL_AN, b"\x01", count=1)


def test_created_coins_come_with_their_old_numbers() -> None:
    ans = (number(1), number(2))

    assert payloads.encode_create_coins_reply(ans) == (250, number(1) + number(2))
    assert payloads.decode_create_coins_reply(250, number(1) + number(2), count=2) == ans
    for count in (1, 3):
        with pytest.raises(errors.BadLength):
            payloads.decode_create_coins_reply(250, number(1) + number(2), count=count)


def test_an_empty_locker_is_not_told_from_none() -> None:
    assert payloads.encode_peek_reply([]) == (242, None)
    for status in (Status.ALL_FAIL, Status.LOCKER_EMPTY_OR_NOT_EXISTS):
        assert payloads.decode_peek_reply(status, b"") == ()
        with pytest.raises(errors.BadLength):
            payloads.decode_peek_reply(status, bytes(5))


@pytest.mark.parametrize("count", [1, 2, 600])
def test_a_locker_is_listed_in_its_order_and_with_its_repetitions(count: int) -> None:
    coins = tuple(Coin(0, index // 2) for index in range(count))

    status, payload = payloads.encode_peek_reply(coins)

    assert (status, len(payload)) == (241, 5 * count)
    assert payloads.decode_peek_reply(status, payload) == coins
    with pytest.raises(errors.NotDivisible):
        payloads.decode_peek_reply(status, payload + b"\x00")


def test_a_full_locker_lists_a_coin() -> None:
    with pytest.raises(errors.BadLength):
        payloads.decode_peek_reply(Status.ALL_PASS, b"")


def test_a_peek_and_a_download_succeed_with_either_status() -> None:
    status, payload = payloads.encode_download_reply(COINS)

    assert status == 241
    for either in (Status.ALL_PASS, Status.SUCCESS):
        assert payloads.decode_download_reply(either, payload) == COINS
        assert payloads.decode_peek_reply(either, payload) == COINS
    assert payloads.decode_download_reply(Status.ALL_FAIL, b"") == ()


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
    reply = RemoveReply(locker_exists=True, passed=passed)

    assert payloads.encode_remove_reply(reply) == (status, bytes.fromhex(bitmap))
    assert payloads.decode_remove_reply(status, bytes.fromhex(bitmap), count=len(passed)) == reply
    with pytest.raises(errors.BadLength):
        payloads.decode_remove_reply(status, bytes.fromhex(bitmap) + b"\x00", count=len(passed))


@pytest.mark.parametrize("status", [Status.ALL_FAIL, Status.LOCKER_EMPTY_OR_NOT_EXISTS])
def test_a_remove_from_no_locker_has_no_bitmap(status: Status) -> None:
    reply = RemoveReply(locker_exists=False, passed=(False, False))

    assert payloads.encode_remove_reply(reply) == (242, None)
    assert payloads.decode_remove_reply(status, b"", count=2) == reply


def test_a_remove_that_took_some_says_which() -> None:
    with pytest.raises(errors.BadLength):
        payloads.decode_remove_reply(Status.MIXED, b"", count=1)


@pytest.mark.parametrize(
    ("status", "bitmap", "passed"),
    [(241, "", (True,) * 8), (241, "ff", (True,) * 8), (243, "7f", (True,) * 7 + (False,)), (242, "00", (False,) * 8)],
)
def test_a_remove_is_understood_in_fewer_bytes(status: int, bitmap: str, passed: tuple[bool, ...]) -> None:
    assert payloads.decode_remove_reply(status, bytes.fromhex(bitmap), count=8) == RemoveReply(True, passed)


@pytest.mark.parametrize(("status", "bitmap"), [(Status.ALL_PASS, b"\x01"), (Status.ALL_FAIL, b"\x01")])
def test_a_remove_that_contradicts_itself_is_refused(status: Status, bitmap: bytes) -> None:
    with pytest.raises(errors.BadPayload):
        payloads.decode_remove_reply(status, bitmap, count=2)


@pytest.mark.parametrize("count", [0, 1, 63, 64])
def test_up_to_64_serial_numbers_are_free(count: int) -> None:
    reply = SerialsReply(-1, tuple(range(0xFFFFFF00, 0xFFFFFF00 + count)))

    status, payload = payloads.encode_get_available_sns_reply(reply)

    assert (status, len(payload)) == (250, 1 + 4 * count)
    assert payloads.decode_get_available_sns_reply(status, payload) == reply


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
        lambda status: payloads.decode_version_reply(status, b"20250323"),
        lambda status: payloads.decode_get_ticket_reply(status, bytes(4), count=1),
        lambda status: payloads.decode_validate_ticket_reply(status, bytes(5)),
        lambda status: payloads.decode_find_reply(status, b"", count=1),
        lambda status: payloads.decode_create_coins_reply(status, bytes(16), count=1),
        lambda status: payloads.decode_peek_reply(status, bytes(5)),
        lambda status: payloads.decode_download_reply(status, bytes(5)),
        lambda status: payloads.decode_remove_reply(status, b"\x00", count=1),
        lambda status: payloads.decode_get_available_sns_reply(status, b"\x00"),
    ],
)
@pytest.mark.parametrize("status", [Status.NO_ERROR, Status.INTERNAL, Status.INVALID_COMMAND, 100])
def test_an_error_status_is_no_reply(decode: Callable[[int], object], status: int) -> None:
    with pytest.raises(errors.UnexpectedStatus):
        decode(status)


def test_no_number_shows_in_a_repr() -> None:
    secret = b"\xab" * 16
    coin = COINS[0]
    for value in (
        CoinAn(coin, secret),
        CoinPan(coin, secret),
        CoinAnPan(coin, secret, secret),
        CoinsSum((coin,), secret),
        PownSum((coin,), secret, secret),
        LockerDeposit((coin,), secret, secret),
        RemoveRequest(secret, (CoinPan(coin, secret),)),
        DownloadRequest(secret, secret),
        FixRequest((coin,), secret, (0xABABABAB,) * 25),
        TicketReply((True,), 0xABABABAB),
        TicketCheck(1, 0xABABABAB),
        CreationRequest((coin,), secret),
        MakeChangeRequest(CoinAn(coin, secret), 1, (secret,)),
        BreakRequest(1, CoinAn(coin, secret), (CoinPan(coin, secret),)),
        JoinRequest(1, CoinPan(coin, secret), (CoinAn(coin, secret),)),
    ):
        assert "\\xab" not in repr(value)
        assert str(0xABABABAB) not in repr(value)
