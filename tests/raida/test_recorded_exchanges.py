"""Every recorded request and answer, read and written again byte for byte."""

import contextlib

import pytest

from lockers.raida import errors, frames, payloads
from lockers.raida.commands import LIVE_ONLY, Command
from lockers.raida.frames import Request, Response
from lockers.raida.statuses import HEADER_STAGE, Status
from tests.raida import recorded
from tests.raida.recorded import Exchange

EXCHANGES = recorded.exchanges()

# Answers of the recorded server to requests that are wrong by what stands before the payload.
REFUSED_FRAMES = {
    "server:peek_t2_unknown raida 5": errors.UnknownKey,
    "server:peek_t1_nocoin raida 5": errors.UnknownKey,
    recorded.WRONG_KEY: errors.BadChallenge,
    "server:hdr_bad_coin_1 raida 7": errors.BadCoinId,
    "server:hdr_bad_cmd raida 7": errors.UnknownCommand,
    "server:hdr_bad_group raida 7": errors.UnknownGroup,
    "server:hdr_bad_crc raida 7": errors.BadChallenge,
    "server:hdr_zero_challenge raida 7": errors.BadChallenge,
    "server:hdr_bad_eof raida 7": errors.BadTerminator,
    "server:hdr_peek_no_body raida 7": errors.EmptyRequest,
    "server:hdr_enc9 raida 7": errors.BadEncryption,
    "server:hdr_split_1 raida 7": errors.BadSplit,
    "server:hdr_shard_9 raida 7": errors.BadShard,
}

# Answers to requests that are wrong by their payload.
REFUSED_PAYLOADS = {
    "server:peek_35_bytes raida 2": errors.BadLength,
    "server:put_bad_pan raida 2": errors.BadLockerKey,
    "server:put_not_div raida 2": errors.NotDivisible,
}

# The server was older than this command and said so without looking at the payload, which
# the recorder had made of another size than the command's.
NOT_LOOKED_AT = "server:cmd 9/90 raida 4"

# The server read a datagram only as far as its limit, and found it shorter than it says.
CUT_DATAGRAM = "server:put_udp_oversize raida 9"

READ = [exchange for exchange in EXCHANGES if exchange.name not in REFUSED_FRAMES]
UNDERSTOOD = [exchange for exchange in READ if exchange.name not in {*REFUSED_PAYLOADS, NOT_LOOKED_AT}]

all_exchanges = pytest.mark.parametrize("exchange", EXCHANGES, ids=recorded.case_name)
read_exchanges = pytest.mark.parametrize("exchange", READ, ids=recorded.case_name)
understood_exchanges = pytest.mark.parametrize("exchange", UNDERSTOOD, ids=recorded.case_name)

PAYLOADS = {
    Command.ECHO: (payloads.decode_empty, lambda nothing: payloads.encode_empty()),
    Command.VERSION: (payloads.decode_empty, lambda nothing: payloads.encode_empty()),
    Command.DETECT: (payloads.decode_detect, payloads.encode_detect),
    Command.DETECT_SUM: (payloads.decode_detect_sum, payloads.encode_detect_sum),
    Command.POWN: (payloads.decode_pown, payloads.encode_pown),
    Command.POWN_SUM: (payloads.decode_pown_sum, payloads.encode_pown_sum),
    Command.GET_TICKET: (payloads.decode_get_ticket, payloads.encode_get_ticket),
    Command.FIND: (payloads.decode_find, payloads.encode_find),
    Command.CREATE_COINS: (payloads.decode_create_coins, payloads.encode_create_coins),
    Command.PUT: (payloads.decode_put, payloads.encode_put_sum),
    Command.PEEK: (payloads.decode_peek, payloads.encode_peek),
    Command.REMOVE: (payloads.decode_remove, payloads.encode_remove),
    Command.STORE_MULTIPLE: (payloads.decode_store_multiple, payloads.encode_store_multiple),
    Command.DOWNLOAD: (payloads.decode_download, payloads.encode_download),
    Command.BREAK: (payloads.decode_break, payloads.encode_break),
    Command.JOIN: (payloads.decode_join, payloads.encode_join),
}


def read(exchange: Exchange) -> Request:
    return frames.decode_request(exchange.request, find_key=exchange.find_key)


def count_of(request: Request) -> int:
    """How many coins (or lockers) a request asks about."""
    decoded = PAYLOADS[request.header.command][0](request.payload)
    return len(getattr(decoded, "records", None) or getattr(decoded, "coins", None) or decoded)


def test_all_the_vectors_are_here() -> None:
    assert len(recorded.VECTORS) == 233
    assert len(EXCHANGES) == 187
    assert len(UNDERSTOOD) == 170
    assert {exchange.name for exchange in EXCHANGES} >= {*REFUSED_FRAMES, *REFUSED_PAYLOADS, NOT_LOOKED_AT}


@read_exchanges
def test_a_recorded_request_is_read_and_written_again(exchange: Exchange) -> None:
    request = read(exchange)

    assert request.encode() == exchange.request
    assert frames.request_size(request.header) == len(exchange.request)


@all_exchanges
def test_a_recorded_header_is_read_and_written_again(exchange: Exchange) -> None:
    assert frames.RequestHeader.decode(exchange.request).encode() == exchange.request[:32]


@pytest.mark.parametrize("name", REFUSED_FRAMES)
def test_a_refused_request_raises_the_error_with_the_recorded_status(name: str) -> None:
    exchange = next(exchange for exchange in EXCHANGES if exchange.name == name)

    with pytest.raises(REFUSED_FRAMES[name]) as caught:
        read(exchange)

    assert caught.value.status == exchange.status


@pytest.mark.parametrize("name", REFUSED_PAYLOADS)
def test_a_refused_payload_raises_the_error_with_the_recorded_status(name: str) -> None:
    exchange = next(exchange for exchange in READ if exchange.name == name)
    request = read(exchange)

    with pytest.raises(REFUSED_PAYLOADS[name]) as caught:
        PAYLOADS[request.header.command][0](request.payload)

    assert caught.value.status == exchange.status


def test_a_datagram_that_was_cut_has_the_wrong_length() -> None:
    exchange = next(exchange for exchange in READ if exchange.name == CUT_DATAGRAM)

    with pytest.raises(errors.BadLength) as caught:
        frames.decode_request(exchange.request[: frames.UDP_SERVER_LIMIT])

    assert caught.value.status == exchange.status


@pytest.mark.parametrize("name", [NOT_LOOKED_AT, "server:cmd 8/8 raida 4"])
def test_a_server_of_the_old_generation_does_not_know_the_live_commands(name: str) -> None:
    exchange = next(exchange for exchange in READ if exchange.name == name)

    with pytest.raises(errors.UnknownCommand) as caught:
        frames.decode_request(exchange.request, commands=frozenset(Command) - LIVE_ONLY)

    assert caught.value.status == exchange.status


@understood_exchanges
def test_a_recorded_payload_is_understood_and_built_again(exchange: Exchange) -> None:
    request = read(exchange)
    decode, encode = PAYLOADS[request.header.command]

    built = frames.build_request(
        raida=request.header.raida,
        command=request.header.command,
        payload=encode(decode(request.payload)),
        challenge12=request.challenge[:12] or None,
        nonce=request.header.nonce,
        encryption=request.encryption,
        shard=request.header.shard,
        presentation=request.header.presentation,
        packet_index=request.header.packet_index,
        packet_count=request.header.packet_count,
    )

    assert built.encode() == exchange.request
    assert built == request


@all_exchanges
def test_a_recorded_answer_is_read_and_written_again(exchange: Exchange) -> None:
    request = read(exchange) if exchange.name not in REFUSED_FRAMES else None

    response = frames.decode_response(exchange.answer, request=request)

    assert response.raida == exchange.raida
    assert response.status == exchange.status
    encrypted = {"encrypt": request.encryption, "nonce": request.header.nonce} if request else {}
    assert response.encode(**encrypted) == exchange.answer
    assert frames.response_size(exchange.answer) == len(exchange.answer)


@pytest.mark.parametrize(
    "exchange", [exchange for exchange in EXCHANGES if exchange.parsed is not None], ids=recorded.case_name
)
def test_a_recorded_answer_has_the_recorded_fields(exchange: Exchange) -> None:
    request = read(exchange) if exchange.name not in REFUSED_FRAMES else None
    parsed = exchange.parsed

    response = frames.decode_response(exchange.answer, request=request)

    assert response.raida == parsed["raida"]
    assert response.shard == parsed["shard"]
    assert response.status == parsed["status"]
    assert response.group == parsed["group"]
    assert response.frames == parsed["frames"]
    assert response.echo.hex() == parsed["echo"]
    assert response.reserved == parsed["res"]
    assert response.execution_microseconds == parsed["exec_us"]
    assert response.signature.hex() == parsed["sig"]
    assert response.payload.hex() == parsed.get("payload", "")
    assert response.wide.hex() == ("" if response.has_body else parsed["raw_body"])


@read_exchanges
def test_a_recorded_answer_matches_its_request_and_no_other(exchange: Exchange) -> None:
    request = read(exchange)
    response = frames.decode_response(exchange.answer, request=request)

    assert frames.matches(response, request)

    if response.status not in HEADER_STAGE and request.challenge:
        strangers = [other for other in map(read, READ) if other.challenge not in (b"", request.challenge)]
        assert [stranger for stranger in strangers if frames.matches(response, stranger)] == []


@read_exchanges
def test_a_server_answers_with_the_recorded_bytes(exchange: Exchange) -> None:
    request = read(exchange)
    response = frames.decode_response(exchange.answer, request=request)
    stale = response.status in HEADER_STAGE or not request.challenge
    if stale and response.echo + response.signature != request.header.echo + request.challenge:
        # The recorded server left another request's echo or signature in there.
        assert exchange.name in {
            NOT_LOOKED_AT,
            CUT_DATAGRAM,
            "server:cmd 8/8 raida 4",
            "server:hdr_echo_header_only raida 7",
        }
        return

    answer = frames.encode_response(
        request=request, status=response.status, payload=response.payload if response.has_body else None
    )

    assert answer == exchange.mask(exchange.answer)


def understand(request: Request, response: Response) -> object:
    """What an answer says to its request, and the same said again."""
    command, status, payload = request.header.command, response.status, response.payload
    if command is Command.ECHO:
        return None, (Status.SUCCESS, None)
    if command is Command.VERSION:
        version = payloads.decode_version_reply(status, payload)
        return version, payloads.encode_version_reply(version)
    if command in (Command.BREAK, Command.JOIN):
        return payloads.decode_done(status, payload), (Status.SUCCESS, None)
    if command in (Command.PUT, Command.DETECT_SUM, Command.POWN_SUM):
        passed = payloads.decode_verdict(status, payload)
        return passed, payloads.encode_verdicts([passed])
    if command is Command.PEEK:
        coins = payloads.decode_peek_reply(status, payload)
        return coins, payloads.encode_peek_reply(coins)
    if command is Command.DOWNLOAD:
        return payloads.decode_download_reply(status, payload), None
    count = count_of(request)
    if command is Command.REMOVE:
        reply = payloads.decode_remove_reply(status, payload, count=count)
        return reply, payloads.encode_remove_reply(reply)
    if command is Command.GET_TICKET:
        ticket = payloads.decode_get_ticket_reply(status, payload, count=count)
        return ticket, payloads.encode_get_ticket_reply(ticket.passed, ticket.ticket)
    if command is Command.FIND:
        found = payloads.decode_find_reply(status, payload, count=count)
        return found, payloads.encode_find_reply(found)
    if command is Command.CREATE_COINS:
        ans = payloads.decode_create_coins_reply(status, payload, count=count)
        return ans, payloads.encode_create_coins_reply(ans)
    passed = payloads.decode_verdicts(status, payload, count=count)
    return passed, payloads.encode_verdicts(passed)


REFUSALS = {16, 34, 36, 37, 40, 41, 199, 39, 6}


@understood_exchanges
def test_a_recorded_answer_is_understood_and_said_again(exchange: Exchange) -> None:
    request = read(exchange)
    response = frames.decode_response(exchange.answer, request=request)
    if response.status in REFUSALS:
        with pytest.raises(errors.UnexpectedStatus):
            understand(request, response)
        return

    _, (status, payload) = understand(request, response)

    assert status == response.status
    assert payload == (response.payload if response.has_body else None)


def test_what_a_server_removed_in_part_is_read_bit_by_bit() -> None:
    exchange = next(exchange for exchange in READ if exchange.name == "server:vec_remove_enc0 raida 0")
    request = read(exchange)
    response = frames.decode_response(exchange.answer, request=request)

    reply = payloads.decode_remove_reply(response.status, response.payload, count=3)

    assert reply == payloads.RemoveReply(locker_exists=True, passed=(False, True, True))


def test_a_mixed_answer_under_encryption_is_read_bit_by_bit() -> None:
    exchange = next(exchange for exchange in READ if exchange.name.startswith("server:detect_type1_mixed_nonceFF"))
    request = read(exchange)
    response = frames.decode_response(exchange.answer, request=request)

    passed = payloads.decode_verdicts(response.status, response.payload, count=count_of(request))

    assert request.header.nonce == b"\xff" * 8
    assert passed == (False, True, False, True, False, True, False, True, False)


@all_exchanges
def test_a_recorded_request_cut_anywhere_is_refused(exchange: Exchange) -> None:
    def read_cut(data: bytes) -> None:
        frames.decode_request(data, find_key=exchange.find_key)

    assert recorded.refused_cuts(exchange.request, read_cut, errors.WireError) == len(exchange.request)


@all_exchanges
def test_a_recorded_answer_cut_anywhere_is_refused(exchange: Exchange) -> None:
    assert recorded.refused_cuts(exchange.answer, frames.decode_response, errors.Truncated) == len(exchange.answer)


@all_exchanges
def test_a_recorded_message_with_a_byte_more_is_refused(exchange: Exchange) -> None:
    # What a server refuses already may be refused for the same reason.
    expected: type[errors.WireError] = errors.BadLength
    try:
        frames.decode_request(exchange.request, find_key=exchange.find_key)
    except errors.WireError as error:
        expected = type(error)
    with pytest.raises((errors.BadLength, expected)):
        frames.decode_request(exchange.request + b"\x3e", find_key=exchange.find_key)
    with pytest.raises(errors.BadLength):
        frames.decode_response(exchange.answer + b"\x3e")


@understood_exchanges
def test_a_recorded_payload_cut_anywhere_is_refused_or_a_shorter_one(exchange: Exchange) -> None:
    request = read(exchange)
    decode, encode = PAYLOADS[request.header.command]

    for cut in recorded.cuts(request.payload):
        with contextlib.suppress(errors.WireError):
            assert encode(decode(cut)) == cut


def test_no_recorded_key_shows_in_a_repr() -> None:
    for exchange in READ:
        request = read(exchange)
        shown = repr(request) + repr(frames.decode_response(exchange.answer, request=request))
        for secret in (request.encryption.key, request.payload):
            assert not secret or repr(secret)[2:-1] not in shown
