"""Every recorded request and answer, read and written again byte for byte."""

import functools
from collections.abc import Callable, Sequence

import pytest

from lockers.localnet import wire
from lockers.localnet.payloads import verdicts
from lockers.raida import errors, frames, payloads
from lockers.raida.coins import Coin
from lockers.raida.commands import Command
from lockers.raida.frames import Request, Response
from lockers.raida.statuses import HEADER_STAGE, Status
from tests.localnet import requests
from tests.localnet.requests import CoinAnPan, CoinPan
from tests.raida import recorded
from tests.raida.recorded import Exchange

EXCHANGES = recorded.exchanges()

# Requests that the recorded server refused for what comes before the payload, with the status of its answer.
REFUSED_FRAMES = {
    "server:peek_t2_unknown raida 5": Status.INVALID_ENCRYPTION,
    "server:peek_t1_nocoin raida 5": Status.INVALID_ENCRYPTION,
    recorded.WRONG_KEY: Status.INVALID_CRC,
    "server:hdr_bad_coin_1 raida 7": Status.INVALID_COIN_ID,
    "server:hdr_bad_cmd raida 7": Status.INVALID_COMMAND,
    "server:hdr_bad_group raida 7": Status.INVALID_COMMAND_GROUP,
    "server:hdr_bad_crc raida 7": Status.INVALID_CRC,
    "server:hdr_zero_challenge raida 7": Status.INVALID_CRC,
    "server:hdr_bad_eof raida 7": Status.INVALID_EOF,
    "server:hdr_peek_no_body raida 7": Status.EMPTY_REQUEST,
    "server:hdr_enc9 raida 7": Status.INVALID_ENCRYPTION_CODE,
    "server:hdr_split_1 raida 7": Status.INVALID_SPLIT_ID,
    "server:hdr_shard_9 raida 7": Status.INVALID_SHARD_ID,
}

# An echo may be the header alone, which our client does not send.
WITHOUT_BODY = "server:hdr_echo_header_only raida 7"

# The server read a datagram only as far as its limit, and found it shorter than it says.
CUT_DATAGRAM = "server:put_udp_oversize raida 9"

READ = [exchange for exchange in EXCHANGES if exchange.name not in {*REFUSED_FRAMES, WITHOUT_BODY}]


def of_each(exchanges: Sequence[Exchange]) -> Callable[[Callable[[Exchange], None]], Callable[[], None]]:
    """
    Let one test go through the exchanges, and say at which it fails.

    There are 1,750 cases of half a millisecond; as a test of its own each would take eight times as long.
    """

    def going_through(test: Callable[[Exchange], None]) -> Callable[[], None]:
        def test_of_each() -> None:
            assert exchanges
            for exchange in exchanges:
                try:
                    test(exchange)
                except BaseException as failure:
                    failure.add_note(f"in {recorded.case_name(exchange)}")
                    raise

        test_of_each.__doc__ = test.__doc__
        return test_of_each

    return going_through


all_exchanges = of_each(EXCHANGES)
read_exchanges = of_each(READ)

# What our client builds of what it reads in a recorded request, for the commands that it sends.
BUILDERS: dict[Command, Callable[[bytes], bytes]] = {
    Command.ECHO: lambda payload: payloads.encode_empty(),
    Command.DETECT: lambda payload: requests.detect(requests.read_an(payload)),
    Command.POWN: lambda payload: requests.pown(requests.read_an_pan(payload)),
    Command.GET_TICKET: lambda payload: requests.detect(requests.read_an(payload)),
    Command.FIND: lambda payload: records_of(requests.read_an_pan(payload)),
    Command.CREATE_COINS: lambda payload: payloads.encode_create_coins(
        requests.read_coins(payload[20:]), payload[4:20]
    ),
    Command.PEEK: payloads.encode_peek,
    Command.PUT: lambda payload: put_again(requests.read_coins(payload[:-32]), payload[-32:-16], payload[-16:]),
    Command.REMOVE: lambda payload: payload[:16] + records_of(requests.read_pan(payload[16:])),
    Command.BREAK: lambda payload: requests.change(
        int.from_bytes(payload[:4], "big"),
        requests.read_an(payload[4:25])[0],
        requests.read_pan(payload[25:]),
    ),
    Command.JOIN: lambda payload: requests.change(
        int.from_bytes(payload[:4], "big"),
        requests.read_pan(payload[4:25])[0],
        requests.read_an(payload[25:]),
    ),
}

# Recorded requests that our client refuses to build.
UNBUILDABLE = {
    "server:peek_35_bytes raida 2",
    "server:put_bad_pan raida 2",
    "server:put_not_div raida 2",
    "server:put_duplicate_coin_zero_sum raida 9",
}

BUILT = [
    exchange
    for exchange in READ
    if Command(tuple(exchange.request[4:6])) in BUILDERS and exchange.name not in UNBUILDABLE
]


def records_of(rows: Sequence[CoinAnPan | CoinPan]) -> bytes:
    ans = [[row.an for row in rows if isinstance(row, CoinAnPan)]]
    return payloads.encode_records([row.coin.to_bytes() for row in rows], *filter(None, ans), [r.pan for r in rows])


def put_again(coins: Sequence[Coin], total: bytes, key: bytes) -> bytes:
    """A put of coins whose ANs are not recorded, but their sum."""
    return payloads.encode_put_to_each(coins, {0: [total] + [bytes(16)] * (len(coins) - 1)}, {0: key})[0]


def read(exchange: Exchange) -> Request:
    return requests.read_request(exchange.request, exchange.find_key)


@functools.cache
def all_read() -> list[Request]:
    return [read(exchange) for exchange in READ]


def count_of(request: Request) -> int:
    """How many coins (or lockers) a request asks about."""
    size, rest = {
        Command.DETECT: (21, 0),
        Command.GET_TICKET: (21, 0),
        Command.POWN: (37, 0),
        Command.FIND: (37, 0),
        Command.REMOVE: (21, 16),
    }[request.command]
    return (len(request.payload) - rest) // size


def test_all_the_vectors_are_here() -> None:
    assert len(recorded.VECTORS) == 233
    assert len(EXCHANGES) == 187
    assert (len(READ), len(BUILT)) == (173, 160)
    assert {exchange.name for exchange in EXCHANGES} >= {*REFUSED_FRAMES, WITHOUT_BODY, CUT_DATAGRAM, *UNBUILDABLE}


@read_exchanges
def test_a_recorded_request_is_read_and_written_again(exchange: Exchange) -> None:
    request = read(exchange)

    assert request.encode() == recorded.as_ours(exchange.request)
    assert request.size == len(exchange.request)


@of_each(BUILT)
def test_a_recorded_request_is_built_again(exchange: Exchange) -> None:
    request = read(exchange)

    built = frames.build_request(
        raida=request.raida,
        command=request.command,
        payload=BUILDERS[request.command](request.payload),
        challenge12=request.challenge[:12],
        nonce=request.nonce,
        encryption=request.encryption,
    )

    assert built.encode() == recorded.as_ours(exchange.request)
    assert built == request


@pytest.mark.parametrize("name", REFUSED_FRAMES)
def test_a_refused_request_gets_the_recorded_status(name: str) -> None:
    exchange = next(exchange for exchange in EXCHANGES if exchange.name == name)

    with pytest.raises(wire.Refused) as caught:
        read(exchange)

    assert caught.value.status is REFUSED_FRAMES[name]
    assert caught.value.status == exchange.status


def test_a_datagram_that_was_cut_has_the_wrong_length() -> None:
    exchange = next(exchange for exchange in READ if exchange.name == CUT_DATAGRAM)

    with pytest.raises(wire.Refused) as caught:
        requests.read_request(exchange.request[: wire.UDP_SERVER_LIMIT])

    assert caught.value.status == exchange.status


# A request in clear, for answers to requests that cannot be read.
QUESTION = frames.build_request(raida=0, command=Command.PEEK, challenge12=bytes(12))


def question(exchange: Exchange) -> Request:
    return read(exchange) if exchange in READ else QUESTION


@all_exchanges
def test_a_recorded_answer_is_read(exchange: Exchange) -> None:
    response = frames.decode_response(exchange.answer, request=question(exchange))

    assert (response.raida, response.status) == (exchange.raida, exchange.status)
    assert (response.echo, response.signature) == (exchange.answer[6:8], exchange.answer[16:32])
    assert frames.response_size(exchange.answer) == len(exchange.answer)


@of_each([exchange for exchange in EXCHANGES if exchange.parsed is not None])
def test_a_recorded_answer_has_the_recorded_fields(exchange: Exchange) -> None:
    parsed = exchange.parsed

    response = frames.decode_response(exchange.answer, request=question(exchange))

    assert response.raida == parsed["raida"]
    assert response.status == parsed["status"]
    assert response.echo.hex() == parsed["echo"]
    assert response.signature.hex() == parsed["sig"]
    assert response.payload.hex() == parsed.get("payload", "")


@read_exchanges
def test_a_recorded_answer_matches_its_request_and_no_other(exchange: Exchange) -> None:
    request = read(exchange)
    response = frames.decode_response(exchange.answer, request=request)

    assert frames.matches(response, request)

    if response.status not in HEADER_STAGE and request.challenge:
        strangers = [other for other in all_read() if other.challenge not in (b"", request.challenge)]
        assert [stranger for stranger in strangers if frames.matches(response, stranger)] == []


@read_exchanges
def test_a_server_answers_with_the_recorded_bytes(exchange: Exchange) -> None:
    request = read(exchange)
    response = frames.decode_response(exchange.answer, request=request)
    if response.status in HEADER_STAGE and response.echo + response.signature != request.echo + request.challenge:
        # The recorded server left another request's echo or signature in there.
        assert exchange.name in {CUT_DATAGRAM, "server:cmd 8/8 raida 4", "server:cmd 9/90 raida 4"}
        return

    payload = response.payload if len(exchange.answer) > frames.HEADER_SIZE else None
    answer = requests.respond(exchange.request, response.status, payload, exchange.find_key)

    assert answer == exchange.mask(exchange.answer)


def understand(request: Request, response: Response) -> object:
    """What our client understands of an answer, and the same as the local network writes it."""
    command, status, payload = request.command, response.status, response.payload
    if command in (Command.BREAK, Command.JOIN):
        return payloads.decode_done(status, payload), (Status.SUCCESS, None)
    if command in (Command.PUT, Command.DETECT_SUM, Command.POWN_SUM):
        passed = payloads.decode_verdict(status, payload)
        return passed, verdicts([passed])
    if command in (Command.PEEK, Command.DOWNLOAD):
        coins = payloads.decode_peek_reply(status, payload)
        return coins, requests.peek_reply(coins)
    count = payload_count(request)
    if command is Command.REMOVE:
        passed = payloads.decode_remove_reply(status, payload, count=count)
        return passed, requests.remove_reply(passed) if payload else (Status.ALL_FAIL, None)
    if command is Command.GET_TICKET:
        ticket = payloads.decode_get_ticket_reply(status, payload, count=count)
        again, bits = verdicts(ticket.passed)
        behind = b"" if ticket.ticket is None else ticket.ticket.to_bytes(4, "big")
        return ticket, (again, (bits or b"") + behind or None)
    if command is Command.FIND:
        found = payloads.decode_find_reply(status, payload, count=count)
        alike = {(0,): Status.FIND_NEITHER, (1,): Status.FIND_ALL_AN, (2,): Status.FIND_ALL_PAN}.get(tuple(set(found)))
        return found, (alike, None) if alike else (Status.FIND_MIXED, bytes(found))
    passed = payloads.decode_verdicts(status, payload, count=count)
    return passed, verdicts(passed)


def payload_count(request: Request) -> int:
    return request.payload[0] if request.command is Command.STORE_MULTIPLE else count_of(request)


REFUSALS = {16, 34, 36, 37, 40, 41, 199, 39, 6}

# Our client looks only at the status of their answers, or does not send them.
NOT_UNDERSTOOD = {Command.ECHO, Command.VERSION, Command.CREATE_COINS, Command.MAKE_CHANGE}


@of_each([exchange for exchange in READ if Command(tuple(exchange.request[4:6])) not in NOT_UNDERSTOOD])
def test_a_recorded_answer_is_understood_and_said_again(exchange: Exchange) -> None:
    request = read(exchange)
    response = frames.decode_response(exchange.answer, request=request)
    if response.status in REFUSALS:
        with pytest.raises(errors.UnexpectedStatus):
            understand(request, response)
        return

    _, (status, payload) = understand(request, response)

    assert status == response.status
    assert (payload or b"") == response.payload
    assert (payload is not None) is (len(exchange.answer) > frames.HEADER_SIZE)


def test_what_a_server_removed_in_part_is_read_bit_by_bit() -> None:
    exchange = next(exchange for exchange in READ if exchange.name == "server:vec_remove_enc0 raida 0")
    request = read(exchange)
    response = frames.decode_response(exchange.answer, request=request)

    reply = payloads.decode_remove_reply(response.status, response.payload, count=3)

    assert reply == (False, True, True)


def test_a_mixed_answer_under_encryption_is_read_bit_by_bit() -> None:
    exchange = next(exchange for exchange in READ if exchange.name.startswith("server:detect_type1_mixed_nonceFF"))
    request = read(exchange)
    response = frames.decode_response(exchange.answer, request=request)

    passed = payloads.decode_verdicts(response.status, response.payload, count=count_of(request))

    assert request.nonce == b"\xff" * 8
    assert passed == (False, True, False, True, False, True, False, True, False)


@all_exchanges
def test_a_recorded_request_cut_anywhere_is_refused(exchange: Exchange) -> None:
    def read_cut(data: bytes) -> None:
        requests.read_request(data, exchange.find_key)

    assert recorded.refused_cuts(exchange.request, read_cut, wire.Refused) == len(exchange.request)


@all_exchanges
def test_a_recorded_answer_cut_anywhere_is_refused(exchange: Exchange) -> None:
    def read_cut(data: bytes) -> None:
        frames.decode_response(data, request=QUESTION)

    assert recorded.refused_cuts(exchange.answer, read_cut, errors.Truncated) == len(exchange.answer)


@all_exchanges
def test_a_recorded_answer_with_a_byte_more_is_refused(exchange: Exchange) -> None:
    with pytest.raises(errors.BadLength):
        frames.decode_response(exchange.answer + b"\x3e", request=QUESTION)


def test_no_recorded_key_shows_in_a_repr() -> None:
    for exchange in READ:
        request = read(exchange)
        shown = repr(request) + repr(frames.decode_response(exchange.answer, request=request))
        for secret in (request.encryption.key, request.payload):
            assert not secret or repr(secret)[2:-1] not in shown
