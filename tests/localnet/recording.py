"""
Replays recorded exchanges (tests/raida/data/vectors.json) against a running local network.

The recording holds requests and answers, and not the state that the recorded servers were
in, nor the requests of which no vector was made. A `Reenactment` works both out: it keeps a
model of what each recorded server must have held, according to the recording alone, and
before a request asks for something the model does not know yet it brings that about
through the protocol (3/130, pown, put …). It never repairs a difference between the model
and the server: that is what the replay is there to find.
"""

import hashlib
import socket
from collections import defaultdict
from dataclasses import dataclass, field

from lockers.raida import encryption, errors, frames, payloads
from lockers.raida.authenticity import created_an, fix_an, xor, xor_sum
from lockers.raida.coins import Coin
from lockers.raida.commands import Command
from lockers.raida.encryption import PLAIN, Encryption
from lockers.raida.frames import HEADER_SIZE
from lockers.raida.statuses import Status
from tests.localnet import requests
from tests.localnet.requests import CoinAn, CoinAnPan, CoinPan, RequestHeader
from tests.raida.recorded import VECTORS
from tests.support.local_network import LocalNetwork

# The key in the only recorded creation of coins.
ADMIN_KEY = bytes.fromhex("00112233445566778899aabbccddeeff")

# How the list began with which the recorded coins of most logs had been created.
_CREATED_SALT = "00000003e800000003e900000003ea01"

# Coins that no recording names: the admin command wants four at a time.
_FILLERS = tuple(Coin(-8, 1_000_000 + number) for number in range(4))

_ANY_COMMAND_OF_GROUP = {0: 0, 1: 10, 2: 40, 3: 130, 8: 83, 9: 91}

# Answered before the challenge was read, so with the signature of the request before.
_UNSIGNED = frozenset({2, 3, 4, 5, 6, 7, 16, 33, 34, 36, 255})
# Answered before the echo was read.
_UNECHOED = frozenset({2, 3, 4, 5, 6, 7, 255})


@dataclass(frozen=True)
class Recorded:
    name: str
    log: str
    request: bytes
    answer: bytes
    over_tcp: bool
    key: bytes | None
    masked: tuple[tuple[int, int], ...]

    @property
    def raida(self) -> int:
        return self.answer[0]

    @property
    def status(self) -> int:
        return self.answer[2]


@dataclass
class Played:
    recorded: Recorded
    expected: bytes
    got: bytes

    @property
    def is_same(self) -> bool:
        return self.expected == self.got


def recorded_exchanges(vectors: list[dict] = VECTORS) -> list[Recorded]:
    return [
        Recorded(
            name=vector["name"],
            log=vector.get("log", "interop"),
            request=bytes.fromhex(vector["inputs"]["request_hex"]),
            answer=bytes.fromhex(vector["expected_hex"]),
            # One vector is marked as a datagram, and is larger than any that is read whole.
            over_tcp=vector["transport"] == "tcp" or "_tcp" in vector["name"],
            key=bytes.fromhex(vector["inputs"]["key"]) if vector["inputs"].get("key") else None,
            masked=tuple((start, end) for start, end in vector["mask_bytes"]),
        )
        for vector in vectors
        if "request_hex" in vector["inputs"]
    ]


@dataclass
class _Model:
    """What a recorded server held, as far as the recording shows."""

    ans: dict[Coin, bytes] = field(default_factory=dict)
    lockers: dict[bytes, list[Coin]] = field(default_factory=lambda: defaultdict(list))
    # Group, echo and signature of the last answered datagram; None when unknown.
    memory: tuple[int, bytes, bytes] | None = (0, bytes(2), bytes(16))


class Reenactment:
    """One log, replayed from its beginning against an empty network."""

    def __init__(self, network: LocalNetwork) -> None:
        self._network = network
        self._models: dict[int, _Model] = defaultdict(_Model)
        # Tickets are random: from the recorded one to the one that was given here.
        self._tickets: dict[bytes, bytes] = {}

    def play(self, recorded: Recorded) -> Played:
        model = self._models[recorded.raida]
        header = RequestHeader.decode(recorded.request)
        cipher = self._cipher(header, recorded, model)
        payload = self._payload(header, cipher, recorded)
        # What the answer says in clear; the answer itself may be encrypted.
        said = cipher.apply(recorded.answer[HEADER_SIZE:-2], nonce=header.nonce)
        request = recorded.request
        if payload is not None and header.command is not None:
            self._prepare(header.command, payload, said, recorded, model)
            request = self._with_our_tickets(header.command, request, recorded)
        if not recorded.over_tcp:
            self._prepare_memory(recorded, model)

        got = self._send(recorded.raida, request, over_tcp=recorded.over_tcp)

        if payload is not None and header.command is not None:
            self._note(header.command, payload, said, recorded, model)
        if not recorded.over_tcp:
            is_narrow = recorded.status != Status.INVALID_ENCRYPTION_CODE
            answer = recorded.answer
            model.memory = (answer[3], answer[6:8], answer[16:32]) if is_narrow else None
        return Played(recorded, self._masked(recorded.answer, recorded, None), self._masked(got, recorded, said))

    # --- reading the recording -----------------------------------------------------------

    def _cipher(self, header: RequestHeader, recorded: Recorded, model: _Model) -> Encryption:
        if header.encryption_kind not in (1, 2) or recorded.status == Status.INVALID_ENCRYPTION:
            return PLAIN
        if header.encryption_kind == 2:
            known = [key for key in model.lockers if key.startswith(header.reference)]
            return Encryption(2, header.reference, recorded.key or known[0])
        coin = Coin.from_bytes(header.reference)
        key = recorded.key or model.ans.get(coin) or _created_long_ago(recorded.raida, coin)
        self._need_an(recorded.raida, model, coin, key)
        return Encryption(1, header.reference, key)

    @staticmethod
    def _payload(header: RequestHeader, cipher: Encryption, recorded: Recorded) -> bytes | None:
        body = recorded.request[HEADER_SIZE:]
        if len(body) < frames.BODY_OVERHEAD or recorded.status in _UNECHOED | {34, 37, 27}:
            return None
        return cipher.apply(body[:-2], nonce=header.nonce)[encryption.CHALLENGE_SIZE :]

    def _masked(self, data: bytes, recorded: Recorded, said: bytes | None) -> bytes:
        shown = bytearray(data)
        spans = list(recorded.masked)
        if recorded.status == Status.INVALID_ENCRYPTION_CODE:
            # The odd wide header has the time elsewhere, and a random nonce.
            spans += [(4, 8), (24, 46)]
        if recorded.request[4:6] == bytes(Command.GET_TICKET.value) and len(data) > HEADER_SIZE:
            spans.append((len(data) - 6, len(data) - 2))
            if said is not None:
                self._tickets[said[-4:]] = data[-6:-2]
        for start, end in spans:
            shown[start:end] = bytes(len(shown[start:end]))
        return bytes(shown)

    # --- what must be so before ----------------------------------------------------------

    def _prepare(self, command: Command, payload: bytes, said: bytes, recorded: Recorded, model: _Model) -> None:
        try:
            self._prepare_command(command, payload, said, recorded, model)
        except errors.WireError:
            # A request that is wrong in itself needs nothing.
            return

    def _prepare_command(
        self, command: Command, payload: bytes, said: bytes, recorded: Recorded, model: _Model
    ) -> None:
        raida, status = recorded.raida, recorded.status
        match command:
            case Command.DETECT | Command.GET_TICKET:
                records = requests.read_an(payload)
                bits = said[:-4] if command is Command.GET_TICKET else said
                for record, passed in zip(records, _passed(status, bits, len(records)), strict=True):
                    if passed:
                        self._need_an(raida, model, record.coin, record.an)
            case Command.POWN:
                rows = requests.read_an_pan(payload)
                for row, passed in zip(rows, _passed(status, said, len(rows)), strict=True):
                    if passed:
                        self._need_an(raida, model, row.coin, row.an)
            case Command.DETECT_SUM if status == Status.ALL_PASS:
                self._need_sum(raida, model, requests.read_coins(payload[:-16]), payload[-16:])
            case Command.POWN_SUM if status == Status.ALL_PASS:
                self._need_sum(raida, model, requests.read_coins(payload[:-32]), payload[-32:-16])
            case Command.FIND:
                found = requests.read_an_pan(payload)
                for row, what in zip(found, payloads.decode_find_reply(status, said, count=len(found)), strict=True):
                    if what:
                        self._need_an(raida, model, row.coin, row.an if what == 1 else row.pan)
            case Command.CREATE_COINS if status == Status.SUCCESS:
                created = requests.read_coins(payload[20:])
                for coin, old in zip(created, _chunks(said, 16), strict=True):
                    self._need_an(raida, model, coin, old)
            case Command.PUT if status in (Status.ALL_PASS, Status.INVALID_PAN):
                coins, tail = requests.read_coins(payload[:-32]), payload[-32:]
                self._need_sum(raida, model, coins, tail[:16])
            case Command.STORE_MULTIPLE:
                deposits = requests.read_store_multiple(payload)
                for one, passed in zip(deposits, _passed(status, said, len(deposits)), strict=True):
                    if passed:
                        self._need_sum(raida, model, one.coins, one.total)
            case Command.PEEK if status == Status.ALL_PASS:
                self._need_locker(raida, model, payload, list(requests.read_coins(said)))
            case Command.PEEK if payload in model.lockers and "restart" in recorded.name:
                self._network.fault(raida, "forget")
                model.lockers.clear()
                model.memory = None
            case Command.REMOVE if len(recorded.answer) > HEADER_SIZE:
                key, records = payload[:16], requests.read_pan(payload[16:])
                gone = _passed(status, said, len(records))
                missing = [
                    record.coin
                    for record, passed in zip(records, gone, strict=True)
                    if passed and record.coin not in model.lockers[key]
                ]
                self._need_locker(raida, model, key, model.lockers[key] + missing)
            case Command.BREAK if status in (Status.SUCCESS, Status.PAGE_IS_NOT_RESERVED):
                (broken,) = requests.read_an(payload[4:25])
                self._need_an(raida, model, broken.coin, broken.an)
            case Command.JOIN if status == Status.SUCCESS:
                for record in requests.read_an(payload[25:]):
                    self._need_an(raida, model, record.coin, record.an)
            case Command.VALIDATE_TICKET if status in (Status.SUCCESS, Status.TICKET_CLAIMED_ALREADY):
                if payload[1:] not in self._tickets:
                    coins = requests.read_coins(said) if said else _FILLERS
                    self._tickets[payload[1:]] = self._ticket(raida, model, coins)
            case Command.FIX if status == Status.ALL_PASS:
                coins, tickets = requests.read_coins(payload[:-116]), _chunks(payload[-100:], 4)
                for other in set(range(25)) - {raida}:
                    self._tickets[tickets[other]] = self._ticket(other, self._models[other], coins)
            case _:
                pass

    def _prepare_memory(self, recorded: Recorded, model: _Model) -> None:
        """Make the server remember, of its last datagram, what the recorded one gave away in its answer."""
        answer = recorded.answer
        is_stale = recorded.status in _UNSIGNED or len(recorded.request) == HEADER_SIZE
        if not is_stale:
            return
        if recorded.status not in _UNECHOED and answer[16:32] == recorded.request[32:48]:
            # Its own after all: the command refused it, and not the reading of the header.
            return
        remembered = (answer[3], answer[6:8], answer[16:32])
        if model.memory == remembered:
            return
        if model.memory is not None and recorded.status not in _UNECHOED and model.memory[2] == remembered[2]:
            return
        header = RequestHeader(
            raida=recorded.raida,
            group=answer[3],
            code=_ANY_COMMAND_OF_GROUP[answer[3]],
            body_length=frames.BODY_OVERHEAD,
            nonce=bytes(6) + answer[6:8],
        )
        self._send(recorded.raida, header.encode() + answer[16:32] + frames.TERMINATOR, over_tcp=False)

    def _need_an(self, raida: int, model: _Model, coin: Coin, an: bytes) -> None:
        if model.ans.get(coin) != an:
            model.ans[coin] = an
            listed = (coin, *_FILLERS[:3])
            self._set_up(raida, Command.CREATE_COINS, payloads.encode_create_coins(listed, ADMIN_KEY), Status.SUCCESS)
            made = created_an(raida=raida, coin=coin, created=listed)
            pown = requests.pown([CoinAnPan(coin, made, an)])
            self._set_up(raida, Command.POWN, pown, Status.ALL_PASS)

    def _need_sum(self, raida: int, model: _Model, coins: tuple[Coin, ...], total: bytes) -> None:
        for coin in coins:
            if coin not in model.ans:
                self._need_an(raida, model, coin, _created_long_ago(raida, coin))
        actual = xor_sum(model.ans[coin] for coin in coins)
        if actual != total:
            last = coins[-1]
            self._need_an(raida, model, last, xor(model.ans[last], xor(actual, total)))

    def _need_locker(self, raida: int, model: _Model, key: bytes, coins: list[Coin]) -> None:
        missing = [coin for coin in coins if coin not in model.lockers[key]]
        if not missing:
            return
        for coin in missing:
            if coin not in model.ans:
                self._need_an(raida, model, coin, _created_long_ago(raida, coin))
        put = requests.put([CoinAn(coin, model.ans[coin]) for coin in missing], key)
        self._set_up(raida, Command.PUT, put, Status.ALL_PASS)
        self._put(model, missing, key)

    def _ticket(self, raida: int, model: _Model, coins: tuple[Coin, ...]) -> bytes:
        for coin in coins:
            if coin not in model.ans:
                self._need_an(raida, model, coin, _created_long_ago(raida, coin))
        records = [CoinAn(coin, model.ans[coin]) for coin in coins]
        return self._set_up(raida, Command.GET_TICKET, requests.rows_an(records), Status.ALL_PASS)

    def _with_our_tickets(self, command: Command, request: bytes, recorded: Recorded) -> bytes:
        if command is Command.VALIDATE_TICKET:
            return request[:49] + self._tickets.get(request[49:53], request[49:53]) + request[53:]
        if command is Command.FIX:
            tickets = [self._tickets.get(ticket, ticket) for ticket in _chunks(request[-102:-2], 4)]
            return request[:-102] + b"".join(tickets) + request[-2:]
        return request

    # --- what was so afterwards ----------------------------------------------------------

    def _note(self, command: Command, payload: bytes, said: bytes, recorded: Recorded, model: _Model) -> None:
        status = recorded.status
        try:
            match command:
                case Command.POWN:
                    rows = requests.read_an_pan(payload)
                    for row, passed in zip(rows, _passed(status, said, len(rows)), strict=True):
                        if passed:
                            model.ans[row.coin] = row.pan
                case Command.POWN_SUM if status == Status.ALL_PASS:
                    for coin in requests.read_coins(payload[:-32]):
                        model.ans[coin] = xor(model.ans[coin], payload[-16:])
                case Command.CREATE_COINS if status == Status.SUCCESS:
                    created = requests.read_coins(payload[20:])
                    for coin in created:
                        model.ans[coin] = created_an(raida=recorded.raida, coin=coin, created=created)
                case Command.PUT if status == Status.ALL_PASS:
                    self._put(model, list(requests.read_coins(payload[:-32])), payload[-16:])
                case Command.STORE_MULTIPLE:
                    deposits = requests.read_store_multiple(payload)
                    for one, passed in zip(deposits, _passed(status, said, len(deposits)), strict=True):
                        if passed:
                            self._put(model, list(one.coins), one.key)
                case Command.REMOVE if len(recorded.answer) > HEADER_SIZE:
                    records = requests.read_pan(payload[16:])
                    self._take(model, payload[:16], records, _passed(status, said, len(records)))
                case Command.BREAK if status == Status.SUCCESS:
                    model.ans.pop(Coin.from_bytes(payload[4:9]))
                    model.ans.update({record.coin: record.pan for record in requests.read_pan(payload[25:])})
                case Command.JOIN if status == Status.SUCCESS:
                    (joined,) = requests.read_pan(payload[4:25])
                    model.ans[joined.coin] = joined.pan
                case Command.FIX if status == Status.ALL_PASS:
                    for coin in requests.read_coins(payload[:-116]):
                        model.ans[coin] = fix_an(raida=recorded.raida, coin=coin, pg=payload[-116:-100])
                case _:
                    pass
        except errors.WireError:
            return

    @staticmethod
    def _put(model: _Model, coins: list[Coin], key: bytes) -> None:
        model.ans.update(dict.fromkeys(coins, key))
        model.lockers[key] += coins

    @staticmethod
    def _take(model: _Model, key: bytes, records: list[CoinPan], gone: list[bool]) -> None:
        for record, passed in zip(records, gone, strict=True):
            if passed:
                model.ans[record.coin] = record.pan
                model.lockers[key].remove(record.coin)
        if not model.lockers[key]:
            del model.lockers[key]

    # --- the wire ------------------------------------------------------------------------

    def _set_up(self, raida: int, command: Command, payload: bytes, wanted: Status) -> bytes:
        # Over TCP, which leaves the memory of datagrams alone.
        request = frames.build_request(raida=raida, command=command, payload=payload, challenge12=bytes(12))
        answer = frames.decode_response(self._send(raida, request.encode(), over_tcp=True), request=request)
        assert answer.status == wanted, (command, answer.status)
        return answer.payload

    def _send(self, raida: int, request: bytes, *, over_tcp: bool) -> bytes:
        server = self._network.servers[raida]
        return exchange(server.host, server.port, request, over_tcp=over_tcp)


def exchange(host: str, port: int, request: bytes, *, over_tcp: bool) -> bytes:
    """Send bytes unchanged and return the answer."""
    kind = socket.SOCK_STREAM if over_tcp else socket.SOCK_DGRAM
    with socket.socket(socket.AF_INET, kind) as sock:
        sock.settimeout(10)
        sock.connect((host, port))
        sock.sendall(request)
        if not over_tcp:
            return sock.recv(65536)
        answer = b""
        while data := sock.recv(65536):
            answer += data
        return answer


def _passed(status: int, said: bytes, count: int) -> list[bool]:
    if status == Status.MIXED:
        return [bool(said[number // 8] >> number % 8 & 1) for number in range(count)]
    return [status == Status.ALL_PASS] * count


def _chunks(data: bytes, size: int) -> list[bytes]:
    return [data[start : start + size] for start in range(0, len(data), size)]


def _created_long_ago(raida: int, coin: Coin) -> bytes:
    return hashlib.md5(f"{raida}{coin.serial_number}{_CREATED_SALT}".encode()).digest()
