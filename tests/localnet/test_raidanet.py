"""The network as a process: started, controlled, killed, stopped."""

import json
import os
import re
import signal
import socket
import stat
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from django.core.management import CommandError, call_command

from lockers import transport as client
from lockers.localnet.control import Control, ControlFailed
from lockers.localnet.fleet import CannotStart, read_admin_key
from lockers.raida import payloads
from lockers.raida.commands import Command
from lockers.transport import Answer, Call, NoResponse, Server
from tests.localnet.coins import everywhere, locker_key, minted, put, tell, tell_all
from tests.support.local_network import LocalNetwork

ROOT = Path(__file__).resolve().parents[2]
LINE = re.compile(r"25 RAIDA servers listen on 127\.0\.0\.1, ports (\d+) to (\d+) \(UDP and TCP\)\.\n")


class Process:
    """`manage.py raidanet` in a directory, once it has said that it listens."""

    def __init__(self, directory: Path, *options: str) -> None:
        command = [sys.executable, "manage.py", "raidanet", "--directory", str(directory), *options]
        self.process = subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
        assert self.process.stdout is not None
        line = self.process.stdout.readline()
        match = LINE.fullmatch(line)
        assert match, (line, self.process.stderr and self.process.stderr.read())
        self.base_port = int(match[1])
        self.servers = tuple(Server(raida, "127.0.0.1", self.base_port + raida) for raida in range(25))

    def end(self, how: signal.Signals) -> tuple[int, str, str]:
        self.process.send_signal(how)
        out, err = self.process.communicate(timeout=60)
        return self.process.returncode, out, err


@pytest.fixture
def directory(tmp_path: Path) -> Path:
    # Deeper than the path of a socket may be.
    deep = tmp_path / ("deep" * 10) / ("deeper" * 10)
    deep.mkdir(parents=True)
    return deep / "raida"


@pytest.fixture
def processes() -> Iterator[list[Process]]:
    started: list[Process] = []
    yield started
    for each in started:
        if each.process.poll() is None:
            each.end(signal.SIGKILL)


def test_a_killed_network_has_lost_nothing_that_it_acknowledged(directory: Path, processes: list[Process]) -> None:
    first = Process(directory, "--base-port", "0", "--fault", "3=silent", "--fault", "4-5=status:252")
    processes.append(first)
    key = locker_key()
    coins = payloads.encode_coins(minted_by(first, directory, key))
    assert first.end(signal.SIGKILL)[0] == -signal.SIGKILL

    second = Process(directory, "--base-port", str(first.base_port))
    processes.append(second)

    peeked = client.ask(second.servers, Call(Command.PEEK, everywhere(key)), until=client.within(20))
    assert {raida for raida, result in peeked.items() if result.payload == coins} == set(range(25)) - {3, 4, 5}
    assert (directory / "control.sock").is_socket()
    assert second.end(signal.SIGTERM) == (0, "", "")
    assert not (directory / "control.sock").exists()


def minted_by(process: Process, directory: Path, key: bytes) -> list:
    """Put new coins into a locker on all servers without a fault."""
    with_servers = type("Network", (), {"servers": process.servers, "admin_key": read_admin_key(directory)})()
    echoes = client.ask(process.servers, Call(Command.ECHO, everywhere(b"")), until=client.within(2))
    assert echoes[3] == NoResponse(3, "timeout", sent=True)
    assert [echoes[raida].status for raida in (4, 5, 6)] == [252, 252, 250]
    Control(directory).fault("3=down")
    records = minted(with_servers, 4)
    stored = tell_all(with_servers, Command.PUT, {raida: put(records, raida, key) for raida in range(25)})
    assert {raida for raida, result in stored.items() if isinstance(result, Answer) and result.status == 241} == set(
        range(25)
    ) - {3, 4, 5}
    return [record.coin for record in records]


def test_two_networks_do_not_share_a_directory(network: LocalNetwork) -> None:
    with pytest.raises(CommandError, match="Another local RAIDA network is running"):
        call_command("raidanet", directory=network.fleet.directory, base_port=0)


def test_a_busy_port_is_named(network: LocalNetwork, tmp_path: Path) -> None:
    with pytest.raises(CommandError, match=r"RAIDA 0 cannot listen on 127\.0\.0\.1:\d+: Address already in use"):
        call_command("raidanet", directory=tmp_path, base_port=network.servers[0].port)


def test_a_port_that_only_udp_has_taken_is_busy_too_and_nothing_stays_open(tmp_path: Path) -> None:
    with LocalNetwork(tmp_path / "one", base_port=0) as other:
        base_port = other.servers[0].port
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as taken:
        taken.bind(("127.0.0.1", base_port + 24))
        with pytest.raises(CannotStart, match="RAIDA 24 cannot listen"):
            LocalNetwork(tmp_path / "two", base_port=base_port).start()

    with LocalNetwork(tmp_path / "two", base_port=base_port) as network:
        assert isinstance(tell(network, 24, Command.ECHO), Answer)


def test_a_directory_that_cannot_be_made_is_named(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")

    with pytest.raises(CommandError, match="cannot be used: Not a directory"):
        call_command("raidanet", directory=tmp_path / "file" / "raida", base_port=0)


def test_a_wrong_fault_stops_the_start(tmp_path: Path) -> None:
    with pytest.raises(CommandError, match="'angry' is no fault; there are: down, silent"):
        call_command("raidanet", directory=tmp_path, base_port=0, fault=["3=angry"])

    assert list(tmp_path.iterdir()) == []


def test_the_admin_key_is_made_once_and_for_the_owner_only(tmp_path: Path) -> None:
    with LocalNetwork(tmp_path, base_port=0) as network:
        key = network.admin_key
    with LocalNetwork(tmp_path, base_port=0) as network:
        assert network.admin_key == key == read_admin_key(tmp_path)

    assert stat.S_IMODE(os.stat(tmp_path / "admin.key").st_mode) == 0o600
    (tmp_path / "admin.key").write_text("no key")
    with pytest.raises(CannotStart, match="admin key"):
        LocalNetwork(tmp_path, base_port=0).start()


def test_a_running_network_takes_orders(
    directory: Path, processes: list[Process], capsys: pytest.CaptureFixture[str]
) -> None:
    running = Process(directory, "--base-port", "0")
    processes.append(running)
    echo = Call(Command.ECHO, everywhere(b""))

    call_command("raidanet", directory=directory, tell=["3=silent", "0-1=status:252"])
    assert [
        getattr(result, "status", None)
        for _, result in sorted(client.ask(running.servers, echo, until=client.within(1)).items())
    ] == [252, 252, 250, None] + [250] * 21

    call_command("raidanet", directory=directory, state=True)
    state = json.loads(capsys.readouterr().out)
    assert state["faults"] == {"0": ["status:252"], "1": ["status:252"], "3": ["silent"]}
    assert state["seen"][2] == {"0/0": 1}
    assert state["seen"][3] == {"0/0": 2}

    call_command("raidanet", directory=directory, clear="*")
    assert {result.status for result in client.ask(running.servers, echo, until=client.within(20)).values()} == {250}
    with pytest.raises(CommandError, match="is no fault"):
        call_command("raidanet", directory=directory, tell=["3=angry"])
    assert running.end(signal.SIGINT) == (0, "", "")
    with pytest.raises(ControlFailed, match="No local RAIDA network answers"):
        Control(directory).state()
