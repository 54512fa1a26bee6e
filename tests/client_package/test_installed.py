"""The client package as it is installed, on the whole system: its README, terminals, pipes and webhooks."""

import fcntl
import json
import os
import pty
import re
import signal
import struct
import subprocess
import sys
import termios
import threading
from collections.abc import Iterator
from functools import partial
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path
from queue import SimpleQueue
from typing import Any, Final, NamedTuple

import pytest
from coppice_client import Client, verify_webhook

from config.dev.embedded import ROOT
from config.seals import sealing
from lockers.models import Coin, PaymentRequest
from lockers.raida.coins import UNITS_PER_COIN
from lockers.raida.files import write_bin
from tests.api.caller import PASSWORD
from tests.api.web_server import web_server
from tests.chaos.worker import Worker
from tests.lockers.conftest import mint_on
from tests.support.local_network import LocalNetwork
from tests.tables import empty_tables
from transfers import audit as transfer_audit
from transfers import operations as transfers
from transfers.models import Transfer
from wallets import operations as wallets

README: Final = (ROOT / "clients" / "python" / "README.md").read_text(encoding="utf-8")
# Seconds, for what many processes do on a busy machine.
PATIENCE: Final = 600
pytestmark = pytest.mark.timeout(900)


class Installation(NamedTuple):
    environment: dict[str, str]
    directory: Path
    network: LocalNetwork

    def coins(self, name: str, *denominations: int) -> dict[str, str]:
        """Return the environment of a program, with a file of new coins."""
        file = self.directory / name
        file.write_bytes(write_bin(mint_on(self.network, *denominations)))
        return self.environment | {"COINS": str(file)}

    def start(self, *arguments: str, **options: Any) -> "subprocess.Popen[str]":
        options = {"env": self.environment, "stdout": subprocess.PIPE, "stderr": subprocess.PIPE} | options
        # Tests may run in the background, where a shell has SIGINT ignored, and a process inherits that.
        options["preexec_fn"] = partial(signal.signal, signal.SIGINT, signal.SIG_DFL)
        return subprocess.Popen(["coppice", *arguments], cwd=self.directory, text=True, **options)

    def run(self, *arguments: str, typed: str | None = None) -> str:
        """Run the command, which must succeed, and return what it prints."""
        done = subprocess.run(
            ["coppice", *arguments],
            env=self.environment, cwd=self.directory, capture_output=True, text=True, timeout=PATIENCE, input=typed,
        )  # fmt: skip
        assert done.returncode == 0, done.stderr
        return done.stdout

    def client(self, profile: str = "default") -> Client:
        """Return a client with the login of a profile: for what a test needs and is not about, without a process."""
        kept = json.loads((self.directory / ".config/coppice/profiles.json").read_text())[profile]
        return Client(kept["url"], **kept["secrets"])


@pytest.fixture(scope="module")
def installed(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The wheel, unpacked with its command, as `pip install` does it."""
    directory = tmp_path_factory.mktemp("installed")
    uv = [str(Path(sys.executable).parent / "uv"), "--quiet", "--no-cache", "--offline"]
    subprocess.run([*uv, "build", "--wheel", "--out-dir", directory, ROOT / "clients" / "python"], check=True)
    (wheel,) = directory.glob("*.whl")
    site = directory / "site"
    subprocess.run(
        [*uv, "pip", "install", "--no-deps", "--python", sys.executable, "--target", site, wheel], check=True
    )
    assert (site / "coppice_client" / "py.typed").exists()
    return site


@pytest.fixture(scope="module")
def system(
    installed: Path, django_db_setup: None, django_db_blocker: Any, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Installation]:
    """A running system on which alice has tokens, and a directory for profiles."""
    home = tmp_path_factory.mktemp("home")
    with django_db_blocker.unblock(), LocalNetwork(home / "raida", base_port=0) as network:
        hosts = {"COPPICE_RAIDA_HOSTS": ",".join(network.hosts), "COPPICE_STATE_DIR": str(home)}
        worker = Worker(network, home / "worker", has_beat=False)
        try:
            key = wallets.create_api_key(name="partner")[1]
            alice = wallets.create_wallet(name="alice", password=PASSWORD)
            for name in ("bob", "carol"):
                wallets.create_wallet(name=name, password=PASSWORD)
            transfers.issue_tokens(wallet=alice, count=100)
            sealing.seal(is_due=True)
            with web_server(hosts) as address:
                environment = {
                    # A path may hold a space, which the shell would split at.
                    "PATH": os.pathsep.join([str(installed / "bin"), str(Path(sys.executable).parent), os.defpath]),
                    "PYTHONPATH": str(installed),
                    "HOME": str(home),
                    "LANG": "C.UTF-8",
                    "TERM": "xterm-256color",
                    "PYTHON_KEYRING_BACKEND": "keyring.backends.fail.Keyring",
                    "COPPICE_URL": f"http://{address}",
                    "COPPICE_API_KEY": key,
                    "ALICE_PASSWORD": PASSWORD,
                    "BOB_PASSWORD": PASSWORD,
                }
                yield Installation(environment, home, network)
        finally:
            worker.stop()
            # The rows are committed, and all later tests would find them.
            empty_tables()


@pytest.fixture(scope="module")
def alice(system: Installation) -> Installation:
    """The same, with alice logged in, and carol, who trusts no wallet."""
    for profile, name in (("default", "alice"), ("carol", "carol")):
        system.run("--profile", profile, "login", name, typed=f"{PASSWORD}\n")
    return system


def blocks(language: str) -> str:
    return "\n".join(re.findall(rf"^```{language}\n(.*?)^```$", README, re.M | re.S))


@pytest.mark.parametrize(
    "command",
    [
        pytest.param([sys.executable, "-W", "error", "-c", blocks("python")], id="Python"),
        pytest.param(["bash", "-euo", "pipefail", "-c", blocks("sh")], id="sh"),
    ],
)
def test_the_readme_works(system: Installation, django_db_blocker: Any, command: list[str], tmp_path: Path) -> None:
    done = subprocess.run(
        command,
        env=system.coins("coins.bin", 1, 1) | {"HOME": str(tmp_path)},
        cwd=tmp_path,
        capture_output=True,
        text=True,
        timeout=PATIENCE,
    )

    assert done.returncode == 0, done.stdout + done.stderr
    assert "\x1b" not in done.stdout + done.stderr
    with django_db_blocker.unblock():
        assert list(transfer_audit.audit_findings()) == []
        if command[0] == "bash":
            assert Transfer.objects.filter(destination__name="bob", state="completed").count() == 3
            # 20 from the locker to bob, 10 of them by a file to alice, and 10 for her payment request.
            assert not Coin.objects.filter(state="bank", wallet__name="bob").exists()
            assert list(PaymentRequest.objects.values_list("state", "paid")) == [("paid", 10 * UNITS_PER_COIN)]
            assert (tmp_path / "ten.bin").stat().st_mode & 0o777 == 0o600
            assert done.stderr == ""


def in_terminal(system: Installation, width: int, *arguments: str, typed: str | None = None) -> tuple[int, str]:
    """Run the command on a terminal of a width, and return the exit status and all that appears there."""
    ours, theirs = pty.openpty()
    fcntl.ioctl(theirs, termios.TIOCSWINSZ, struct.pack("HHHH", 50, width, 0, 0))
    process = system.start(*arguments, stdin=theirs, stdout=theirs, stderr=theirs, start_new_session=True)
    os.close(theirs)
    shown = b""
    while True:
        try:
            read = os.read(ours, 65536)
        except OSError:
            break
        shown += read
        # Echo is off by then.
        if typed is not None and shown.endswith(b": "):
            os.write(ours, typed.encode() + b"\n")
            typed = None
    os.close(ours)
    return process.wait(PATIENCE), shown.decode().replace("\r\n", "\n").replace("\r", "\n")


CODES: Final = re.compile(r"\x1b\[[0-9;?]*[a-zA-Z]")


@pytest.mark.parametrize("width", [80, 120])
def test_a_terminal_gets_a_table_that_fits(alice: Installation, width: int) -> None:
    with alice.client() as client:
        sent = client.send(2, sender="alice", receiver="carol")

    status, shown = in_terminal(alice, width, "--profile", "carol", "inbox")
    with alice.client("carol") as client:
        client.decline(sent["id"])

    assert (status, "\x1b[" in shown) == (0, True)
    title, *rows = [line.rstrip() for line in CODES.sub("", shown).splitlines()]
    columns = ["ID", "ANSWER WITH", "FROM", "TO", "WHAT", "CREATED"]
    assert re.split(r" {2,}", title) == (columns if width == 120 else columns[:-1])
    assert max(map(len, [title, *rows])) <= width
    (row,) = rows
    assert re.split(r" {2,}", row)[:5] == [sent["id"], "accept", "alice", "carol", "sends 2 tokens"]


def test_a_transmit_code_is_typed_unseen_and_shown_as_a_qr_code(alice: Installation) -> None:
    alice.run("coins", "import", alice.coins("more.bin", 1)["COINS"])
    status, shown = in_terminal(alice, 80, "locker", "put", "10")
    text = CODES.sub("", shown)
    assert status == 0
    (code,) = re.findall(r"^transmit code +(\S+) *$", text, re.M)
    qr = [line for line in text.splitlines() if re.fullmatch("[█▀▄ ]{29}", line)]
    assert len(qr) == 15, text

    status, shown = in_terminal(alice, 80, "--profile", "carol", "locker", "peek", typed=code)

    assert (status, code in shown) == (0, False)
    assert re.search(r"^total +10 *$", CODES.sub("", shown), re.M)


def test_a_pipe_that_is_closed_ends_the_command_quietly(alice: Installation) -> None:
    reading, writing = os.pipe()
    os.close(reading)
    process = alice.start("wallets", "--json", stdout=writing)
    os.close(writing)

    _, said = process.communicate(timeout=PATIENCE)

    assert (process.returncode, said) == (1, "")


def test_a_full_disk_does_not_hide_what_was_done(alice: Installation) -> None:
    with open("/dev/full", "w") as full:
        process = alice.start("send", "1", "--to", "carol", "--json", stdout=full)
        _, said = process.communicate(timeout=PATIENCE)

    assert process.returncode == 4
    assert "The output cannot be written: No space left on device. To learn the outcome, repeat" in said
    key = said.split("--idempotency-key ")[1].strip()
    sent = json.loads(alice.run("send", "1", "--to", "carol", "--json", "--idempotency-key", key))
    with alice.client() as client:
        client.cancel(sent["id"])


@pytest.fixture
def receiver() -> Iterator[tuple[str, "SimpleQueue[tuple[dict[str, str], bytes]]"]]:
    """A partner's program that gets webhooks: its address, and what it has got."""
    got: SimpleQueue[tuple[dict[str, str], bytes]] = SimpleQueue()

    class Receiver(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            got.put((dict(self.headers), self.rfile.read(int(self.headers["Content-Length"]))))
            self.send_response(204)
            self.end_headers()

        def log_message(self, *_: Any) -> None:
            pass

    server = HTTPServer(("127.0.0.1", 0), Receiver)
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    yield f"http://127.0.0.1:{server.server_port}/hook", got
    server.shutdown()
    thread.join()
    server.server_close()


def test_events_are_forwarded_as_webhooks(alice: Installation, receiver: Any) -> None:
    url, got = receiver
    options = ["--interval", "0.1", "--since", "1h", "--type", "transfer_requested"]
    process = alice.start("webhooks", "listen", url, *options)
    try:
        assert process.stderr is not None
        secret = re.findall(r"whsec_\S+", process.stderr.readline())[0]
        with alice.client() as client:
            sent = client.send(1, sender="alice", receiver="carol")
            client.cancel(sent["id"])
        messages = []
        while not messages or messages[-1]["data"]["payload"]["transferId"] != sent["id"]:
            headers, body = got.get(timeout=PATIENCE)
            messages.append(verify_webhook(body, headers, secret))
            assert headers["webhook-id"] == messages[-1]["data"]["id"]
        assert process.stdout is not None
        printed = [process.stdout.readline().rstrip("\n").split("\t") for _ in messages]
        process.send_signal(signal.SIGINT)
        _, said = process.communicate(timeout=PATIENCE)
    finally:
        process.kill()
        process.communicate()
    assert (process.returncode, said) == (130, "Interrupted.\n")
    assert {message["type"] for message in messages} == {"transfer_requested"}
    # Each once.
    ids = [message["data"]["id"] for message in messages]
    assert len(ids) == len(set(ids))
    assert [line[1:] for line in printed] == [["204", "transfer_requested", each] for each in ids]
