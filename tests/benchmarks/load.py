"""
Load: clients that each wait for an answer before they ask again, in processes of their own.

Raw sockets over loopback, kept alive, many in one process by `epoll`: what the load generator takes
of the two cores is measured and shown beside the results.
"""

import multiprocessing
import resource
import selectors
import socket
import time
from array import array
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from multiprocessing.connection import Connection

# The bytes of a request, and whether the data is as at the start once it is answered.
Step = tuple[bytes, bool]
# The requests of one client; it is given its number and a word that no other run has.
Script = Callable[[int, str], Iterator[Step]]

CLIENTS_PER_PROCESS = 16
WARM_UP_SECONDS = 0.7
_PATIENCE_SECONDS = 30


@dataclass
class Run:
    """What one run measured."""

    seconds: float
    clients: int
    answered: int = 0
    refused: dict[str, int] = field(default_factory=dict)
    # Seconds from the first byte sent to the last byte read.
    latencies: list[float] = field(default_factory=list)
    load_cpu_seconds: float = 0.0
    # All answers, those of the warm-up included: what the processor time of the servers was spent on.
    sent: int = 0

    @property
    def rate(self) -> float:
        return self.answered / self.seconds

    def percentile(self, share: float) -> float:
        """Return a latency in milliseconds."""
        if not self.latencies:
            return float("nan")
        ordered = sorted(self.latencies)
        return 1000 * ordered[min(len(ordered) - 1, int(share * len(ordered)))]


def request(method: str, path: str, headers: dict[str, str], body: bytes = b"") -> bytes:
    """Return a request as bytes."""
    lines = [f"{method} {path} HTTP/1.1", "Host: localhost"]
    lines += [f"{name}: {value}" for name, value in headers.items()]
    if body:
        lines += ["Content-Type: application/json", f"Content-Length: {len(body)}"]
    return "\r\n".join([*lines, "", ""]).encode() + body


def run(address: tuple[str, int], script: Script, *, clients: int, seconds: float, word: str) -> Run:
    """Let the clients send requests for `seconds`, after a warm-up that does not count."""
    context = multiprocessing.get_context("fork")
    count = -(-clients // CLIENTS_PER_PROCESS)
    begin = time.monotonic() + 0.2
    drivers = []
    for index in range(count):
        ours, theirs = context.Pipe(duplex=False)
        numbers = list(range(index, clients, count))
        driver = context.Process(target=_drive, args=(theirs, address, script, numbers, begin, seconds, word))
        driver.start()
        theirs.close()
        drivers.append((driver, ours))
    total = Run(seconds, clients)
    for driver, ours in drivers:
        answered, sent, refused, latencies, cpu = ours.recv()
        driver.join()
        total.answered += answered
        total.sent += sent
        total.latencies.extend(latencies)
        total.load_cpu_seconds += cpu
        for status, times in refused.items():
            total.refused[status] = total.refused.get(status, 0) + times
    return total


class Client:
    """One connection: what it is waiting for, and since when."""

    def __init__(self, address: tuple[str, int], steps: Iterator[Step]) -> None:
        self.socket = socket.create_connection(address, timeout=_PATIENCE_SECONDS)
        self.socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self.steps = steps
        self.received = b""
        self.missing = -1
        self.since = 0.0
        self.at_rest = False

    def ask(self) -> None:
        sent, self.at_rest = next(self.steps)
        self.received, self.missing = b"", -1
        self.since = time.perf_counter()
        self.socket.sendall(sent)

    def read(self) -> bool:
        """Read what is there and tell whether the answer is complete."""
        arrived = self.socket.recv(1 << 18)
        if not arrived:
            raise ConnectionError("the server hung up")
        if self.missing < 0:
            self.received += arrived
            end = self.received.find(b"\r\n\r\n")
            if end < 0:
                return False
            head = self.received[:end].lower()
            at = head.find(b"\r\ncontent-length:") + 17
            if at < 17:
                # granian's WSGI interface sends an answer without a length in chunks, the last of which is empty.
                return self.received.endswith(b"\r\n0\r\n\r\n")
            stop = head.find(b"\r\n", at)
            length = int(head[at : stop if stop > 0 else end])
            self.missing = end + 4 + length - len(self.received)
        else:
            self.missing -= len(arrived)
        return self.missing == 0

    @property
    def status(self) -> str:
        return self.received[9:12].decode()

    @property
    def refusal(self) -> str:
        body = self.received.partition(b"\r\n\r\n")[2]
        return f"{self.status} {body[:200].decode(errors='replace')}"


def _drive(
    pipe: "Connection[object, object]",
    address: tuple[str, int],
    script: Script,
    numbers: list[int],
    begin: float,
    seconds: float,
    word: str,
) -> None:
    selector = selectors.DefaultSelector()
    clients = [Client(address, script(number, word)) for number in numbers]
    time.sleep(max(0.0, begin - time.monotonic()))
    for client in clients:
        selector.register(client.socket, selectors.EVENT_READ, client)
    start = time.perf_counter() + WARM_UP_SECONDS
    end = start + seconds
    answered, sent, refused, latencies = 0, 0, dict[str, int](), array("d")
    spent = -1.0
    for client in clients:
        client.ask()
    waiting = len(clients)
    while waiting:
        ready = selector.select(_PATIENCE_SECONDS)
        if not ready:
            refused["silence"] = refused.get("silence", 0) + waiting
            break
        for key, _ in ready:
            client = key.data
            if not client.read():
                continue
            now = time.perf_counter()
            sent += 1
            if client.status[0] != "2":
                refused[client.refusal] = refused.get(client.refusal, 0) + 1
            if start <= now < end:
                if spent < 0:
                    spent = _cpu_seconds()
                answered += 1
                latencies.append(now - client.since)
            if now >= end and client.at_rest:
                waiting -= 1
                selector.unregister(client.socket)
            else:
                client.ask()
    pipe.send((answered, sent, refused, latencies, _cpu_seconds() - spent if spent >= 0 else 0.0))
    pipe.close()


def _cpu_seconds() -> float:
    usage = resource.getrusage(resource.RUSAGE_SELF)
    return usage.ru_utime + usage.ru_stime
