"""The client against servers that answer, misbehave, or are no servers at all."""

import asyncio
import contextlib
import socket
import threading
import time
from collections.abc import Callable, Iterator
from typing import Any

import pytest

from lockers import server_request
from lockers import transport as client
from lockers.raida import errors, frames, payloads
from lockers.raida.coins import Coin
from lockers.raida.commands import Command
from lockers.raida.encryption import is_challenge, with_coin, with_locker_key
from lockers.raida.frames import HEADER_SIZE
from lockers.raida.statuses import QUORUM, RAIDA_COUNT, UNREADABLE, Status
from lockers.transport import Answer, Call, InvalidServers, NoResponse, Server
from tests.localnet.coins import (
    answer,
    detect,
    detect_with,
    everywhere,
    locker_key,
    minted,
    pown,
    put,
    remove,
    tell,
    tell_all,
)
from tests.localnet.requests import RequestHeader, respond
from tests.support.local_network import LocalNetwork

# Long enough that no answer is missed on a busy machine; where silence is expected, short.
PATIENT = 20.0
IMPATIENT = 0.4

ECHO = Call(Command.ECHO, everywhere(b""))


@pytest.fixture(scope="module")
def running_network(tmp_path_factory: pytest.TempPathFactory) -> Iterator[LocalNetwork]:
    with LocalNetwork(tmp_path_factory.mktemp("raida"), base_port=0) as network:
        yield network


@pytest.fixture
def network(running_network: LocalNetwork, monkeypatch: pytest.MonkeyPatch) -> LocalNetwork:
    monkeypatch.setattr(server_request, "_lagging", set())
    running_network.clear()
    running_network.forget_seen()
    return running_network


class Impostor:
    """
    Something on a port that is no RAIDA server.

    It keeps what arrives, with the transport, and answers each request with what `reply` makes of it. Connections
    are served once `behind` further ones have arrived after them.
    """

    def __init__(
        self,
        reply: Callable[[bytes], bytes | None] = lambda request: None,
        *,
        hangs: bool = False,
        behind: int = 0,
    ) -> None:
        self.arrived: list[tuple[str, bytes]] = []
        self.connected = 0
        self._reply = reply
        self._hangs = hangs
        self._behind = behind
        self._udp, self._tcp = _socket_pair()
        self.server = Server(3, "127.0.0.1", self._udp.getsockname()[1])
        self._threads = [threading.Thread(target=self._serve_udp), threading.Thread(target=self._serve_tcp)]

    def __enter__(self) -> "Impostor":
        for thread in self._threads:
            thread.start()
        return self

    def __exit__(self, *args: object) -> None:
        # Closing alone would not wake a thread that waits in the kernel.
        for sock in (self._udp, self._tcp):
            with contextlib.suppress(OSError):
                sock.shutdown(socket.SHUT_RDWR)
        for thread in self._threads:
            thread.join(timeout=60)
        self._udp.close()
        self._tcp.close()

    def _serve_udp(self) -> None:
        while True:
            data, address = self._udp.recvfrom(65536)
            if not data:
                return
            self.arrived.append(("udp", data))
            reply = self._reply(data)
            if reply is not None:
                # No datagram is longer than 64 KiB.
                with contextlib.suppress(OSError):
                    self._udp.sendto(reply, address)

    def _serve_tcp(self) -> None:
        with contextlib.ExitStack() as overlooked:
            queue: list[socket.socket] = []
            while True:
                try:
                    queue.append(overlooked.enter_context(self._tcp.accept()[0]))
                except OSError:
                    return
                self.connected += 1
                if len(queue) > self._behind:
                    self._serve(queue.pop(0))

    def _serve(self, connection: socket.socket) -> None:
        with connection, contextlib.suppress(OSError):
            connection.settimeout(10)
            data = connection.recv(65536)
            if not data:
                return
            while len(data) < HEADER_SIZE + RequestHeader.decode(data).body_length:
                data += connection.recv(65536)
            self.arrived.append(("tcp", data))
            reply = self._reply(data)
            if reply is not None:
                connection.sendall(reply)
            if self._hangs:
                # Until the client closes.
                connection.recv(1)


def _socket_pair() -> tuple[socket.socket, socket.socket]:
    while True:
        tcp = socket.create_server(("127.0.0.1", 0))
        udp = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        try:
            udp.bind(tcp.getsockname())
        except OSError:
            udp.close()
            tcp.close()
        else:
            return udp, tcp


def ask_one(server: Server, command: Command, payload: bytes = b"", *, seconds: float = PATIENT) -> client.Result:
    return client.ask([server], Call(command, {server.raida: payload}), until=client.within(seconds))[server.raida]


def genuine(status: int = 250, payload: bytes | None = None) -> Callable[[bytes], bytes]:
    def reply(data: bytes) -> bytes:
        return respond(data, status, payload)

    return reply


# --- all at once ---------------------------------------------------------------------------


def test_every_server_answers_for_itself(network: LocalNetwork) -> None:
    results = client.ask(network.servers, ECHO, until=client.within(PATIENT))

    assert sorted(results) == list(range(RAIDA_COUNT))
    assert {(result.raida, result.status) for result in results.values()} == {(r, 250) for r in range(RAIDA_COUNT)}
    assert all(0 < result.elapsed_seconds < PATIENT for result in results.values())


def test_all_are_asked_at_once(network: LocalNetwork) -> None:
    network.fault(range(RAIDA_COUNT), "delay:0.4")

    began = time.monotonic()
    results = client.ask(network.servers, ECHO, until=client.within(PATIENT))

    # One after the other they would take ten seconds.
    assert time.monotonic() - began < 5
    assert all(isinstance(result, Answer) for result in results.values())


def test_only_servers_with_a_payload_are_asked(network: LocalNetwork) -> None:
    results = client.ask(network.servers, Call(Command.ECHO, {2: b"", 24: b""}), until=client.within(PATIENT))

    assert sorted(results) == [2, 24]
    assert network.seen(Command.ECHO) == 2


def test_silence_ends_at_the_deadline_and_costs_the_others_nothing(network: LocalNetwork) -> None:
    network.fault(range(12), "silent")
    heard: list[client.Result] = []

    began = time.monotonic()
    results = client.ask(network.servers, ECHO, until=client.within(IMPATIENT), on_result=heard.append)

    assert IMPATIENT <= time.monotonic() - began < 5
    assert {raida: results[raida] for raida in range(12)} == {
        raida: NoResponse(raida, "timeout", sent=True) for raida in range(12)
    }
    assert all(isinstance(results[raida], Answer) for raida in range(12, 25))
    assert {result.raida: result for result in heard} == results
    assert all(isinstance(result, Answer) for result in heard[:13])


def test_enough_gives_up_the_others(network: LocalNetwork) -> None:
    network.fault(range(12), "silent")
    key = locker_key()

    def thirteen_agree(results: client.Results) -> bool:
        return sum(isinstance(result, Answer) for result in results.values()) >= QUORUM

    began = time.monotonic()
    results = client.ask(
        network.servers, Call(Command.PEEK, everywhere(key)), until=client.within(60), enough=thirteen_agree
    )

    assert time.monotonic() - began < 30
    assert len(results) == RAIDA_COUNT
    assert {results[raida] for raida in range(12)} == {NoResponse(raida, "cancelled", sent=True) for raida in range(12)}


def test_those_who_come_a_little_later_are_waited_for_and_one_who_hangs_is_not(network: LocalNetwork) -> None:
    network.fault(range(24), "delay:0.2")
    network.fault(range(13, 24), "delay:0.25")
    network.fault(24, "delay:20")

    verdicts: list[bool] = []

    def thirteen_answered(results: client.Results) -> bool:
        verdicts.append(len(results) >= QUORUM)
        return verdicts[-1]

    began = time.monotonic()
    results = client.ask(
        network.servers, ECHO, until=client.within(60), enough=thirteen_answered, grace=client.GraceWindow(10, 0)
    )

    assert [raida for raida, result in results.items() if isinstance(result, NoResponse)] == [24]
    assert results[24] == NoResponse(24, "cancelled", sent=True)
    assert time.monotonic() - began < 19
    # Later answers do not move the moment from which the window is counted.
    assert verdicts.count(True) == 1


def test_no_server_is_waited_for_longer_than_the_window_lets_it_be_late(network: LocalNetwork) -> None:
    network.fault(range(13), "delay:2")
    network.fault(range(13, 25), "silent")

    began = time.monotonic()
    client.ask(
        network.servers,
        ECHO,
        until=client.within(600),
        enough=lambda results: len(results) >= 13,
        grace=client.GraceWindow(0.1, 0),
    )

    # A tenth of the two seconds. A tenth of the time until the deadline would be a minute.
    assert time.monotonic() - began < 30


def test_a_grace_window_is_a_share_of_the_time_until_there_were_enough() -> None:
    window = client.GraceWindow(0.1, 0)

    assert (window.gap(2), window.total(2)) == (pytest.approx(0.2), pytest.approx(2.2))
    # Never less than its seconds, and all together no more than `most` of them.
    assert client.GraceWindow(0.1, 0.5).gap(2) == 0.5
    assert client.GraceWindow(0.1, 0, most=3).total(2) == pytest.approx(0.6)


@pytest.mark.parametrize("command", [Command.PUT, Command.PEEK])
def test_not_a_byte_leaves_after_the_deadline(command: Any, network: LocalNetwork) -> None:
    """As when the process was stopped between the decision to send and the sending."""
    payload = bytes(2000) if command is Command.PUT else bytes(16)

    results = client.ask(network.servers, Call(command, everywhere(payload)), until=client.within(-1))

    assert set(results.values()) == {NoResponse(raida, "timeout", sent=False) for raida in range(RAIDA_COUNT)}
    assert network.seen(command) == 0


def test_an_error_of_the_listener_stops_everything(network: LocalNetwork) -> None:
    def fail(result: client.Result) -> None:
        raise RuntimeError("full")

    with pytest.raises(RuntimeError, match="full"):
        client.ask(network.servers, ECHO, until=client.within(PATIENT), on_result=fail)


def test_a_payload_that_fits_into_no_request_is_not_sent(network: LocalNetwork) -> None:
    call = Call(Command.DETECT, {0: bytes(21), 1: bytes(70_000)})

    with pytest.raises(errors.Unencodable):
        client.ask(network.servers, call, until=client.within(PATIENT))

    assert network.seen(Command.DETECT) == 0


@pytest.mark.parametrize("status", [*UNREADABLE, Status.ALL_FAIL])
@pytest.mark.parametrize(
    ("encryption", "falls_back", "repeated"),
    [
        (with_coin(Coin(0, 1), b"a" * 16), True, UNREADABLE),
        # The server has no locker with this key. One may be filled under it later: the key is not sent in clear.
        (with_locker_key(b"k" * 16), True, UNREADABLE - {Status.INVALID_ENCRYPTION}),
        (with_coin(Coin(0, 1), b"a" * 16), False, frozenset()),
        (None, True, frozenset()),
    ],
)
def test_what_a_server_cannot_decrypt_is_repeated_in_clear_unless_it_is_the_key_of_no_locker(
    encryption: Any, falls_back: bool, repeated: frozenset[Status], status: Status
) -> None:
    call = Call(Command.ECHO, {3: b""}, encryption={} if encryption is None else {3: encryption}, falls_back=falls_back)
    request = server_request.ServerRequest(Server(3, "127.0.0.1", 1), call, client.within(PATIENT))
    answered = Answer(raida=3, status=status, payload=b"", elapsed_seconds=0.01)

    assert request._must_fall_back(answered) is (status in repeated)


# --- what may have arrived -----------------------------------------------------------------


def test_what_fits_goes_in_a_datagram_unless_the_answer_is_too_large_for_one() -> None:
    """Of a peek most answers fit. Without its payload a request has 50 bytes, and one of 1,400 may be fragmented."""
    by_tcp = {Command.DOWNLOAD, Command.VALIDATE_TICKET, Command.GET_ALL_SNS}
    for command in Command:
        for size, is_short in ((16, True), (1349, True), (1350, False)):
            call = Call(command=command, payloads={3: bytes(size)})
            request = server_request.ServerRequest(Server(3, "127.0.0.1", 1), call, client.within(PATIENT))
            # The answer to this one is four times as long as the request.
            is_answered_at_length = command is Command.CREATE_COINS and size > 16
            expected = is_short and command not in by_tcp and not is_answered_at_length
            assert request._fits_a_datagram() is expected, (command, size)


def test_a_refused_connection_has_sent_nothing_and_a_refused_datagram_has(network: LocalNetwork) -> None:
    network.fault(3, "down")

    assert tell(network, 3, Command.DOWNLOAD, bytes(32)) == NoResponse(3, "refused", sent=False)
    assert tell(network, 3, Command.POWN, bytes(37)) == NoResponse(3, "refused", sent=True)
    assert tell(network, 3, Command.ECHO) == NoResponse(3, "refused", sent=True)


def test_a_put_whose_answer_is_lost_may_have_been_done(network: LocalNetwork) -> None:
    records = minted(network, 4)
    key = locker_key()
    network.fault(3, "drop-reply")

    lost = tell(network, 3, Command.PUT, put(records, 3, key), seconds=IMPATIENT)
    network.clear()

    assert lost == NoResponse(3, "timeout", sent=True)
    assert answer(network, 3, Command.DETECT, detect_with(records, key)) == (241, b"")


def test_a_server_that_dies_in_the_middle_may_have_done_the_work_or_not(network: LocalNetwork) -> None:
    records = minted(network, 8)
    large, key = records * 40, locker_key()
    network.fault(3, "crash")
    network.fault(4, "crash-before")

    # Large enough for TCP, where a death is seen at once.
    done = tell(network, 3, Command.POWN, pown(large, 3, key))
    not_done = tell(network, 4, Command.POWN, pown(large, 4, key))
    network.clear()

    assert done == NoResponse(3, "network", sent=True)
    assert not_done == NoResponse(4, "network", sent=True)
    assert answer(network, 3, Command.DETECT, detect_with(records, key)) == (241, b"")
    assert answer(network, 4, Command.DETECT, detect(records, 4)) == (241, b"")


@pytest.mark.parametrize("command", [Command.PUT, Command.POWN, Command.REMOVE, Command.FIX, Command.BREAK])
def test_what_cannot_be_repeated_is_sent_once(network: LocalNetwork, command: Any) -> None:
    network.fault(3, "silent")

    tell(network, 3, command, bytes(200), seconds=IMPATIENT)

    assert network.seen(command, 3) == 1


@pytest.mark.parametrize("command", [Command.ECHO, Command.PEEK])
def test_a_lost_question_is_asked_once_more_and_no_more(network: LocalNetwork, command: Any) -> None:
    asked = []
    # Each time another server. A busy machine needs a later deadline to ask and to read it a second time.
    for raida, seconds in ((3, IMPATIENT), (4, 3.0), (5, PATIENT)):
        network.fault(raida, "silent")
        tell(network, raida, command, locker_key()[: 16 if command is Command.PEEK else 0], seconds=seconds)
        asked.append(network.seen(command, raida))
        if asked[-1] == 2:
            break

    assert asked[-1] == 2
    assert max(asked) == 2


def test_a_question_whose_connection_ended_is_not_asked_again(network: LocalNetwork) -> None:
    network.fault(3, "drop-reply")

    assert tell(network, 3, Command.FIND, bytes(37 * 100)) == NoResponse(3, "network", sent=True)
    assert network.seen(Command.FIND, 3) == 1


def test_a_question_that_udp_loses_is_answered_over_tcp() -> None:
    answered = genuine()

    with Impostor(lambda data: answered(data) if len(impostor.arrived) > 1 else None) as impostor:
        result = ask_one(impostor.server, Command.ECHO, seconds=4)

    assert isinstance(result, Answer)
    first, second = (RequestHeader.decode(data) for _, data in impostor.arrived)
    assert [transport for transport, _ in impostor.arrived] == ["udp", "tcp"]
    # Not the same bytes twice: each has its own nonce and challenge.
    assert first.nonce != second.nonce
    assert impostor.arrived[0][1][32:48] != impostor.arrived[1][1][32:48]


@pytest.mark.parametrize(("is_awake", "answered"), [(True, 242), (False, None)])
def test_a_connection_that_a_server_overlooked_is_let_in_by_later_ones_while_it_is_awake(
    is_awake: bool, answered: int | None
) -> None:
    """As servers do that take one connection for all that arrive at one moment, and never catch up."""
    told = genuine(242)

    def reply(data: bytes) -> bytes | None:
        return told(data) if is_awake or RequestHeader.decode(data).command is not Command.ECHO else None

    with Impostor(reply, behind=5) as impostor:
        result = ask_one(impostor.server, Command.POWN, bytes(37 * 100), seconds=PATIENT if is_awake else IMPATIENT)

    assert (result.status if isinstance(result, Answer) else None) == answered
    # What cannot be repeated was sent once, and to a server that stands still nothing came after it. How many later
    # connections leave before the answer is read depends on the clock; each needs an echo that was answered before it.
    echoes = [data for _, data in impostor.arrived if RequestHeader.decode(data).command is Command.ECHO]
    assert impostor.connected <= 1 + len(echoes) * is_awake
    assert [how for how, data in impostor.arrived if data[4:6] == bytes((1, 20))] == ["tcp"] * is_awake


def test_a_server_that_had_to_be_helped_is_helped_at_once_the_next_time() -> None:
    with Impostor(genuine(242), behind=2) as impostor:
        ask_one(impostor.server, Command.POWN, bytes(37 * 100), seconds=4)
        began = time.monotonic()
        result = ask_one(impostor.server, Command.POWN, bytes(37 * 100), seconds=400)

    assert isinstance(result, Answer)
    # For a stranger it would have waited 20 seconds.
    assert time.monotonic() - began < 10


def test_servers_that_fix_a_coin_do_not_all_at_once_ask_the_others(network: LocalNetwork) -> None:
    began = time.monotonic()
    results = client.ask(network.servers, Call(Command.FIX, everywhere(bytes(200))), until=client.within(PATIENT))

    assert time.monotonic() - began >= 24 * client._FIX_GAP_SECONDS
    assert all(isinstance(result, Answer) for result in results.values())


def test_a_server_that_overlooked_another_ones_question_lets_it_in() -> None:
    told = genuine(241)

    def ask_the_other(data: bytes) -> bytes:
        if RequestHeader.decode(data).command is Command.FIX:
            asked = frames.build_request(raida=3, command=Command.VALIDATE_TICKET, challenge12=bytes(12))
            with socket.create_connection((other.server.host, other.server.port), timeout=PATIENT) as connection:
                connection.sendall(asked.encode())
                assert connection.recv(HEADER_SIZE)
        return told(data)

    with Impostor(genuine(), behind=1) as other, Impostor(ask_the_other) as fixing:
        servers = [other.server, Server(4, fixing.server.host, fixing.server.port)]
        results = client.ask(servers, Call(Command.FIX, {4: bytes(200)}), until=client.within(4))

    assert isinstance(results[4], Answer)
    assert ("tcp", Command.VALIDATE_TICKET) in [
        (how, RequestHeader.decode(data).command) for how, data in other.arrived
    ]


# --- what is believed ----------------------------------------------------------------------


@pytest.mark.parametrize(
    ("fault", "reason"),
    [
        ("garbage", "garbage"),
        ("truncate", "garbage"),
        ("huge", "garbage"),
        ("wrong-id", "mismatch"),
        ("wrong-echo", "mismatch"),
        ("wrong-signature", "mismatch"),
    ],
)
def test_an_answer_that_is_not_one_is_dropped(network: LocalNetwork, fault: str, reason: str) -> None:
    network.fault(3, fault)

    by_udp = tell(network, 3, Command.POWN, bytes(37), seconds=IMPATIENT)
    by_tcp = tell(network, 3, Command.POWN, bytes(37 * 100), seconds=PATIENT)

    assert by_udp == NoResponse(3, reason, sent=True)
    assert by_tcp == NoResponse(3, reason, sent=True)


@pytest.mark.parametrize("fault", ["stale", "twice"])
def test_an_answer_to_another_request_does_not_hide_ours(network: LocalNetwork, fault: str) -> None:
    records = minted(network, 4)
    network.fault(3, fault)

    result = tell(network, 3, Command.POWN, pown(records, 3, records[0].ans[3]))

    assert isinstance(result, Answer)
    assert result.status == 241


def test_an_error_status_is_an_answer(network: LocalNetwork) -> None:
    network.fault(3, "status:252")

    assert answer(network, 3, Command.ECHO) == (252, b"")


def test_an_error_in_the_header_is_believed_by_its_socket_alone(network: LocalNetwork) -> None:
    server, other = network.servers[3], network.servers[4]

    # Newer commands are unknown to these servers; a moved address makes one answer for another.
    assert answer(network, 3, Command.DOWNLOAD, bytes(32)) == (6, b"")
    assert ask_one(Server(3, other.host, other.port), Command.ECHO).status == Status.INVALID_RAIDA_ID
    assert ask_one(Server(3, other.host, other.port), Command.PEEK, locker_key()).status == Status.INVALID_RAIDA_ID
    assert ask_one(server, Command.ECHO).status == Status.SUCCESS


def test_a_status_that_is_in_no_table_is_a_number() -> None:
    def reply(data: bytes) -> bytes:
        answered = bytearray(genuine()(data))
        answered[2] = 77
        return bytes(answered)

    with Impostor(reply) as impostor:
        result = ask_one(impostor.server, Command.POWN, bytes(37))

    assert isinstance(result, Answer)
    assert (result.status, type(result.status)) == (77, int)


def test_an_answer_larger_than_the_question_allows_is_garbage() -> None:
    with Impostor(genuine(243, bytes(5000))) as impostor:
        assert ask_one(impostor.server, Command.POWN, bytes(37 * 100)) == NoResponse(3, "garbage", sent=True)
        assert ask_one(impostor.server, Command.POWN, bytes(37), seconds=IMPATIENT) == NoResponse(
            3, "garbage", sent=True
        )


def test_16_mib_are_not_waited_for() -> None:
    def boast(data: bytes) -> bytes:
        header = bytearray(genuine(241)(data))
        header[9:12] = b"\xff\xff\xff"
        return bytes(header)

    with Impostor(boast, hangs=True) as impostor:
        assert ask_one(impostor.server, Command.DOWNLOAD, bytes(32)) == NoResponse(3, "garbage", sent=True)


def test_a_connection_that_ends_early_is_no_answer() -> None:
    with Impostor(lambda data: b"") as nothing, Impostor(lambda data: bytes(20)) as half:
        assert ask_one(nothing.server, Command.DOWNLOAD, bytes(32)) == NoResponse(3, "network", sent=True)
        assert ask_one(half.server, Command.DOWNLOAD, bytes(32)) == NoResponse(3, "garbage", sent=True)


def test_a_large_locker_is_peeked_whole(network: LocalNetwork) -> None:
    coins = payloads.encode_coins([Coin(0, number) for number in range(100_000)])

    with Impostor(genuine(241, coins)) as impostor:
        result = ask_one(impostor.server, Command.PEEK, locker_key())

    assert isinstance(result, Answer)
    assert result.payload == coins
    assert [how for how, _ in impostor.arrived] == ["udp", "tcp"]


# --- what is sent --------------------------------------------------------------------------


def test_a_request_is_strict_and_fresh() -> None:
    with Impostor(genuine(242)) as impostor:
        for _ in range(3):
            ask_one(impostor.server, Command.PUT, bytes(37))

    for _, data in impostor.arrived:
        header = RequestHeader.decode(data)
        assert header.encode() == data[:HEADER_SIZE]
        assert data[:24] == bytes.fromhex("010003000852000601000000000000010000000000000037")
        assert is_challenge(data[32:48])
        assert data[48:] == bytes(37) + b"\x3e\x3e"
    assert len({data[24:32] for _, data in impostor.arrived}) == 3
    assert len({data[32:48] for _, data in impostor.arrived}) == 3


@pytest.mark.parametrize(
    ("command", "size", "transport"),
    [
        (Command.ECHO, 0, "udp"),
        # 32 + 16 + payload + 2 bytes: below 1,400 a datagram, from there on a connection.
        (Command.POWN, 1349, "udp"),
        (Command.POWN, 1350, "tcp"),
        # Their answers may be longer than their questions; most lockers are small.
        (Command.PEEK, 16, "udp"),
        (Command.DOWNLOAD, 32, "tcp"),
        (Command.CREATE_COINS, 600, "tcp"),
    ],
)
def test_the_transport_follows_from_the_sizes(command: Any, size: int, transport: str) -> None:
    with Impostor(genuine(242)) as impostor:
        assert isinstance(ask_one(impostor.server, command, bytes(size)), Answer)

    assert [how for how, _ in impostor.arrived] == [transport]


def test_encrypted_requests_are_understood_and_their_answers_too(network: LocalNetwork) -> None:
    records = minted(network, 4)
    key = locker_key()
    results = tell_all(network, Command.PUT, {raida: put(records[1:], raida, key) for raida in range(RAIDA_COUNT)})
    assert {result.status for result in results.values()} == {241}
    coins = payloads.encode_coins([record.coin for record in records[1:]])
    by_coin = {raida: with_coin(records[0].coin, records[0].ans[raida]) for raida in range(RAIDA_COUNT)}
    by_key = dict.fromkeys(range(RAIDA_COUNT), with_locker_key(key))

    for encryption in (by_coin, by_key):
        call = Call(Command.PEEK, everywhere(key), encryption)
        peeked = client.ask(network.servers, call, until=client.within(PATIENT))
        assert {(result.status, result.payload) for result in peeked.values()} == {(241, coins)}
    taken = client.ask(
        network.servers,
        Call(Command.REMOVE, {raida: remove(records[1:], raida, key) for raida in range(RAIDA_COUNT)}, by_key),
        until=client.within(PATIENT),
    )
    assert {(result.status, result.payload) for result in taken.values()} == {(241, b"\x07")}


def test_a_wrong_key_is_answered_with_37(network: LocalNetwork) -> None:
    records = minted(network, 4)
    result = tell(network, 3, Command.PEEK, locker_key(), encryption=with_coin(records[0].coin, bytes(16)))

    assert isinstance(result, Answer)
    assert result.status == Status.INVALID_CRC


def test_secrets_do_not_show(network: LocalNetwork) -> None:
    secret = b"an ugly secret!!"

    call = Call(Command.PEEK, {3: secret}, {3: with_locker_key(secret)})
    assert "ugly" not in repr(call)
    assert "ugly" not in repr(Answer(3, Status.ALL_PASS, secret, 0.1))


# --- settings ------------------------------------------------------------------------------


def test_servers_are_read_from_the_settings() -> None:
    hosts = [f"raida{number}.example:{50000 + number}" for number in range(24)] + ["[::1]:50024"]

    servers = client.servers_from_settings(hosts)

    assert servers[0] == Server(0, "raida0.example", 50000)
    assert servers[24] == Server(24, "::1", 50024)


@pytest.mark.parametrize("wrong", ["", "host", "host:", ":50000", "host:0", "host:65536", "host:x"])
def test_a_wrong_address_is_refused(wrong: str) -> None:
    with pytest.raises(InvalidServers, match="RAIDA 24"):
        client.servers_from_settings(["127.0.0.1:50000"] * 24 + [wrong])
    with pytest.raises(InvalidServers, match="25"):
        client.servers_from_settings(["127.0.0.1:50000"] * 24)


@pytest.mark.parametrize("kind", [socket.SOCK_STREAM, socket.SOCK_DGRAM])
@pytest.mark.parametrize("host", ["localhost", "127.0.0.1"])
def test_each_address_of_a_server_is_tried_once(host: str, kind: socket.SocketKind) -> None:
    """Without the kind, the addresses of a name are listed once for each kind of socket."""
    found = asyncio.run(server_request._addresses(Server(3, host, 5), kind))

    assert {address[1] for *_, address in found} == {5}
    assert {of for _, of, *_ in found} == {kind}
    assert len({address for *_, address in found}) == len(found)
