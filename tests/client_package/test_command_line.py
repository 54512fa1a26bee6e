"""The command `coppice` over the product, in the process of the test: what it does, says and keeps."""

import json
import stat
import uuid
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import click
import httpx2
import keyring
import keyring.backend
import keyring.backends.fail
import pytest
from click.shell_completion import ShellComplete
from click.testing import CliRunner, Result
from coppice_client.cli.app import coppice
from coppice_client.cli.session import SecretiveCommand, Session

from tests.api.caller import PASSWORD, Caller
from tests.client_package.conftest import Network, answering, lost_answer, unreachable
from transfers import operations as transfers
from transfers.models import Transfer
from trusts.models import Trust
from wallets import queries
from wallets.models import BearerToken

# By a fixture, or without `subprocess` (tests/parts.py).
OF_SYSTEMS = True

URL = "https://trees.example.org"
FILE = "coppice/profiles.json"


class Command:
    """Runs the command with a separate directory for profiles."""

    def __init__(self, network: Network) -> None:
        self._network = network
        self._runner = CliRunner()

    def __call__(self, *arguments: str, typed: str = "", profile: str = "alice") -> Result:
        def connect(url: str, **credentials: Any) -> Any:
            assert url == URL
            return self._network.client(**credentials)

        return self._runner.invoke(
            coppice, ["--profile", profile, *arguments], input=typed, obj=Session(connect=connect)
        )

    def json(self, *arguments: str, typed: str = "", profile: str = "alice") -> Any:
        result = self(*arguments, "--json", typed=typed, profile=profile)
        assert (result.exit_code, result.stderr) == (0, "")
        return json.loads(result.stdout)


@pytest.fixture(autouse=True)
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path))
    monkeypatch.setenv("HOME", str(tmp_path))
    for name in ("COPPICE_URL", "COPPICE_TOKEN", "COPPICE_API_KEY", "COPPICE_PROFILE"):
        monkeypatch.delenv(name, raising=False)
    return tmp_path


@pytest.fixture(autouse=True)
def _no_keyring() -> Iterator[None]:
    """No test asks the keyring of who runs it."""
    before = keyring.get_keyring()
    keyring.set_keyring(keyring.backends.fail.Keyring())
    yield
    keyring.set_keyring(before)


@pytest.fixture
def command(network: Network) -> Command:
    return Command(network)


@pytest.fixture
def both(command: Command, alice: Caller, bob: Caller, api_key: str, monkeypatch: pytest.MonkeyPatch) -> Command:
    """The command, logged in as alice, who has five tokens, and as bob."""
    assert alice.wallet is not None
    transfers.issue_tokens(wallet=alice.wallet, count=5)
    with monkeypatch.context() as patch:
        patch.setenv("COPPICE_API_KEY", api_key)
        for name in ("alice", "bob"):
            done = command("login", name, "--url", URL, typed=PASSWORD + "\n", profile=name)
            assert done.exit_code == 0, done.output
    return command


def leaves(group: click.Group, *path: str) -> Iterator[tuple[str, click.Command]]:
    for name, each in group.commands.items():
        if isinstance(each, click.Group):
            yield from leaves(each, *path, name)
        else:
            yield " ".join([*path, name]), each


COMMANDS = dict(leaves(coppice))
WITHOUT_KEY = {
    "claim list", "coins balance", "completion", "events", "inbox", "locker code", "locker list", "locker peek",
    "login", "logout", "password", "payment-request list", "payment-request show", "sessions", "transfers",
    "trust list", "verify-proof", "wallets", "webhooks listen",
}  # fmt: skip


def options_of(one: click.Command) -> set[str]:
    return {option for each in one.params if isinstance(each, click.Option) for option in each.opts}


# --- The shape of all commands ----------------------------------------------------------------------------------------


def test_every_command_that_changes_something_can_be_repeated_with_its_key() -> None:
    assert {name for name, one in COMMANDS.items() if "--idempotency-key" not in options_of(one)} == WITHOUT_KEY
    assert {name for name, one in COMMANDS.items() if "--json" not in options_of(one)} == {"logout", "completion"}


def test_no_option_takes_a_secret() -> None:
    named = {
        (name, option): type(each.type)
        for name, one in COMMANDS.items()
        for each in one.params
        for option in each.opts
        if any(word in option for word in ("password", "secret", "api", "code", "token", "bearer"))
    }
    # These are names of files, and ids of tokens.
    for option in (("send", "--token"), ("claim create", "--token-id")):
        assert named.pop(option) is click.types.StringParamType
    assert set(named.values()) == {click.Path}


@pytest.mark.parametrize("name", [name for name, one in COMMANDS.items() if isinstance(one, SecretiveCommand)])
def test_a_secret_on_the_command_line_is_refused_and_not_repeated(command: Command, name: str) -> None:
    needed = {
        "locker put": ["20"],
        "login": ["alice"],
        "payment-request pay": ["5f0e7d3e-0f7a-4a55-9f43-1f0b0a1f6c11"],
    }.get(name, [])

    result = command(*name.split(), *needed, "S3CR3T-C0D3")

    assert result.exit_code == 2
    assert "not taken from the command line" in result.stderr
    assert "S3CR3T" not in result.output


def test_what_takes_a_secret_refuses_it_on_the_command_line() -> None:
    assert {name for name, one in COMMANDS.items() if isinstance(one, SecretiveCommand)} == {
        "claim redeem", "login", "locker put", "locker peek", "locker take", "password", "payment-request pay",
    }  # fmt: skip


@pytest.mark.parametrize("shell", ["bash", "zsh", "fish"])
def test_a_shell_gets_its_script(command: Command, shell: str) -> None:
    result = command("completion", shell)

    assert result.exit_code == 0
    assert f"_COPPICE_COMPLETE={shell}_complete" in result.stdout


def test_names_and_options_are_completed() -> None:
    completion = ShellComplete(coppice, {}, "coppice", "_COPPICE_COMPLETE")

    assert [each.value for each in completion.get_completions([], "lo")] == ["locker", "login", "logout"]
    assert [each.value for each in completion.get_completions(["trust", "request"], "m")] == ["manage"]
    assert "--code-file" in {each.value for each in completion.get_completions(["locker", "take"], "--")}


# --- Logging in -------------------------------------------------------------------------------------------------------


@pytest.mark.django_db
def test_a_login_is_kept_in_a_file_for_its_owner_alone(
    command: Command, alice: Caller, api_key: str, home: Path, network: Network
) -> None:
    key_file = home / "key"
    key_file.write_text(api_key + "\n")

    done = command("login", "alice", "--url", URL, "--api-key-file", str(key_file), typed=PASSWORD + "\n")

    assert (done.exit_code, done.stderr) == (0, "")
    path = home / FILE
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert stat.S_IMODE(path.parent.stat().st_mode) == 0o700
    kept = json.loads(path.read_text())["alice"]
    assert (kept["url"], kept["secrets"]["api_key"]) == (URL, api_key)
    assert PASSWORD not in path.read_text()
    assert api_key not in done.output
    assert kept["secrets"]["token"] not in done.output
    assert [row["name"] for row in command.json("wallets")] == ["alice"]

    # The second time, the address and the key are known.
    assert command("login", "alice", typed=PASSWORD + "\n").exit_code == 0
    assert network.requests[-1].headers["TREETRACKER-API-KEY"] == api_key
    # Neither goes to another installation.
    elsewhere = command("login", "alice", "--url", "https://elsewhere.example", typed="\n")
    assert elsewhere.exit_code == 2
    assert "API key is empty" in elsewhere.stderr

    assert command("logout").stderr == "Logged out.\n"
    assert api_key not in path.read_text()
    refused = command("wallets")
    assert (refused.exit_code, refused.stdout) == (3, "")
    assert "Not logged in" in refused.stderr


@pytest.mark.django_db
def test_the_owner_sees_and_ends_sessions_and_changes_the_password(
    both: Command, network: Network, api_key: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("COPPICE_API_KEY", api_key)
    assert both("login", "alice", typed=PASSWORD + "\n").exit_code == 0
    rows = both.json("sessions")
    assert [row["is_current"] for row in rows] == [True, *[False] * (len(rows) - 1)]
    assert len(rows) > 1

    refused = both("password", typed="wrong\ncorrect horse\n")
    assert (refused.exit_code, refused.stderr) == (1, "Error: The present password is wrong (403 password_wrong)\n")
    changed = both.json("password", typed=f"{PASSWORD}\ncorrect horse\n")

    assert changed == {"sessions_ended": len(rows) - 1}
    assert [row["id"] for row in both.json("sessions")] == [rows[0]["id"]]
    token = network.requests[-1].headers["Authorization"]
    assert both("logout").stderr == "Logged out.\n"
    assert both("login", "alice", "--url", URL, typed=PASSWORD + "\n").exit_code == 3
    assert BearerToken.objects.get(digest=queries.digest(token.removeprefix("Bearer "))).revoked_at is not None
    assert both("login", "alice", "--url", URL, typed="correct horse\n").exit_code == 0
    network.faults = [unreachable] * 5
    gone = both("logout")
    assert gone.exit_code == 1
    assert "may still be valid" in gone.stderr
    assert both("wallets").exit_code == 3


@pytest.mark.django_db
def test_a_refused_login_leaves_the_last_one(both: Command, home: Path) -> None:
    before = (home / FILE).read_text()

    refused = both("login", "alice", typed="wrong password\n")

    assert (refused.exit_code, refused.stdout) == (3, "")
    assert refused.stderr == "Error: Invalid credentials (401 credentials_invalid)\n"
    assert (home / FILE).read_text() == before


@pytest.mark.django_db
def test_a_file_that_others_may_read_is_refused(both: Command, home: Path) -> None:
    (home / FILE).chmod(0o640)

    refused = both("wallets")

    assert refused.exit_code == 1
    assert "chmod 600" in refused.stderr


@pytest.mark.django_db
def test_the_environment_stands_for_a_login(
    command: Command, alice: Caller, monkeypatch: pytest.MonkeyPatch, home: Path
) -> None:
    assert alice.api_key is not None
    assert alice.bearer is not None
    monkeypatch.setenv("COPPICE_URL", URL)
    monkeypatch.setenv("COPPICE_API_KEY", alice.api_key)
    monkeypatch.setenv("COPPICE_TOKEN", alice.bearer)

    assert [row["name"] for row in command.json("wallets")] == ["alice"]
    assert not (home / FILE).exists()

    monkeypatch.setenv("COPPICE_TOKEN", "two\nlines")
    broken = command("wallets")
    assert (broken.exit_code, "lines" in broken.output) == (2, False)


class Memory(keyring.backend.KeyringBackend):
    """A keyring, as a desktop has one."""

    priority = 1  # type: ignore[assignment]

    def __init__(self) -> None:
        super().__init__()
        self.kept: dict[tuple[str, str], str] = {}

    def get_password(self, service: str, username: str) -> str | None:
        return self.kept.get((service, username))

    def set_password(self, service: str, username: str, password: str) -> None:
        self.kept[service, username] = password

    def delete_password(self, service: str, username: str) -> None:
        del self.kept[service, username]


@pytest.mark.django_db
def test_a_keyring_keeps_the_secrets_if_there_is_one(
    command: Command, alice: Caller, api_key: str, home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("COPPICE_API_KEY", api_key)
    refused = command("login", "alice", "--url", URL, "--store", "keyring", typed=PASSWORD)
    assert (refused.exit_code, "no keyring" in refused.stderr) == (2, True)
    memory = Memory()
    keyring.set_keyring(memory)

    done = command("login", "alice", "--url", URL, typed=PASSWORD)

    assert done.stdout.splitlines()[-1] == "token kept in\tthe keyring"
    assert json.loads((home / FILE).read_text()) == {"alice": {"url": URL}}
    assert json.loads(memory.kept["coppice", "alice"])["api_key"] == api_key
    monkeypatch.delenv("COPPICE_API_KEY")
    assert [row["name"] for row in command.json("wallets")] == ["alice"]
    command("logout")
    assert memory.kept == {}


# --- Tokens -----------------------------------------------------------------------------------------------------------


@pytest.mark.django_db
def test_tokens_are_sent_asked_for_accepted_declined_and_cancelled(both: Command) -> None:
    sent = both.json("send", "2", "--to", "bob")
    assert (sent["state"], sent["source_wallet"]) == ("pending", "alice")
    assert [(row["answer"], row["what"], row["id"]) for row in both.json("inbox", profile="bob")] == [
        ("accept", "sends 2 tokens", sent["id"])
    ]
    assert both.json("inbox") == []
    assert both.json("accept", sent["id"], profile="bob")["state"] == "completed"

    asked = both.json("request", "1", "--from", "bob")
    assert asked["state"] == "requested"
    assert [row["what"] for row in both.json("inbox", profile="bob")] == ["asks for 1 token"]
    # To accept is to fulfill here.
    assert both.json("accept", asked["id"], profile="bob")["state"] == "completed"

    assert both.json("decline", both.json("send", "1", "--to", "bob")["id"], profile="bob")["state"] == "cancelled"
    assert both.json("cancel", both.json("send", "1", "--to", "bob")["id"])["state"] == "cancelled"
    (held,) = both("wallets", profile="bob").stdout.splitlines()
    assert held.split("\t")[:4] == ["bob", "1", "1", "0"]
    assert [line.split("\t")[1:5] for line in both("transfers", "--state", "completed").stdout.splitlines()] == [
        ["completed", "2", "alice", "bob"],
        ["completed", "1", "bob", "alice"],
    ]


# A refused statement ends its transaction.
@pytest.mark.django_db(transaction=True)
def test_the_terms_of_a_transfer(both: Command, network: Network) -> None:
    terms = ["--reference", "order 7", "--unique-reference", "--metadata", "shop=north", "--metadata", "till=a=1"]
    sent = both.json("send", "1", "--to", "bob", *terms, "--expires-at", "2040-01-01T08:00")
    assert {name: sent[name] for name in ("reference", "metadata", "expires_at", "available_actions")} == {
        "reference": "order 7",
        "metadata": {"shop": "north", "till": "a=1"},
        "expires_at": "2040-01-01T08:00:00.000Z",
        "available_actions": ["delete"],
    }
    other = both("send", "1", "--to", "bob", "--reference", "order 7", "--expires-at", "7d").stdout
    shown = dict(line.split("\t") for line in other.splitlines())
    assert shown["reference"] == "order 7"
    assert moment(7) - timedelta(minutes=10) < datetime.fromisoformat(shown["expires"]) <= moment(7)

    refused = both("send", "1", "--to", "bob", *terms)
    assert (refused.exit_code, refused.stderr) == (
        1, "Error: The reference order 7 belongs to another transfer (409 transfer_reference_taken)\n",
    )  # fmt: skip
    assert [row["id"] for row in both.json("transfers", "--reference", "order 7")] == [sent["id"], shown["transfer"]]
    assert [row["id"] for row in both.json("transfers", "--metadata", "till=a=1", "--metadata", "shop=north")] == [
        sent["id"]
    ]
    assert both.json("transfers", "--metadata", "shop=south") == []


def moment(days: int) -> datetime:
    return datetime.now(UTC) + timedelta(days=days)


@pytest.mark.django_db
def test_trust_relationships(both: Command) -> None:
    asked = both.json("trust", "request", "send", "bob")
    assert [(row["answer"], row["what"]) for row in both.json("inbox", profile="bob")] == [("trust accept", "send")]

    assert both.json("trust", "accept", asked["id"], profile="bob")["state"] == "trusted"
    assert both.json("send", "1", "--to", "bob")["state"] == "completed"
    assert both("trust", "list").stdout.split("\t")[:5] == [asked["id"], "send", "trusted", "alice", "bob"]

    assert both.json("trust", "end", asked["id"])["state"] == "cancelled_by_originator"
    other = both.json("trust", "request", "yield", "bob")
    assert both.json("trust", "decline", other["id"], profile="bob")["state"] == "cancelled_by_target"
    assert Trust.objects.filter(state="trusted").count() == 0


@pytest.mark.django_db
def test_a_limit_says_that_there_is_more(both: Command) -> None:
    for _ in range(3):
        both.json("send", "1", "--to", "bob")

    some = both("transfers", "--limit", "2")

    assert len(some.stdout.splitlines()) == 2
    assert some.stderr == "There are more than 2: see --limit.\n"
    assert both("transfers", "--limit", "3").stderr == ""


@pytest.mark.django_db
def test_events_in_lines(both: Command) -> None:
    both.json("send", "2", "--to", "bob")

    everything = both("events", "--json").stdout.splitlines()
    lines = both("events", "--type", "transfer_requested").stdout.splitlines()

    assert {"login", "transfer_requested"} <= {json.loads(line)["type"] for line in everything}
    assert [line.split("\t")[1:3] for line in lines] == [["transfer_requested", "alice → bob, 2 tokens, pending"]]
    assert both("events", "--since", "2999-01-01").stdout == ""
    assert both("events", "--since", "yesterday").exit_code == 2


# --- What goes wrong --------------------------------------------------------------------------------------------------


@pytest.mark.django_db
def test_an_unknown_outcome_is_resolved_by_the_key_that_is_named(both: Command, network: Network) -> None:
    network.faults = [lost_answer] * 4

    unknown = both("send", "2", "--to", "bob")

    assert (unknown.exit_code, unknown.stdout) == (4, "")
    key = unknown.stderr.split("--idempotency-key ")[1].strip()
    repeated = both("send", "2", "--to", "bob", "--idempotency-key", key, "--json")
    assert list(Transfer.objects.values_list("id", flat=True)) == [uuid.UUID(json.loads(repeated.stdout)["id"])]

    # Also for the two calls of which `accept` consists.
    network.faults = [network_passes, *[lost_answer] * 4]
    unknown = both("accept", json.loads(repeated.stdout)["id"], "--json", profile="bob")
    error = json.loads(unknown.stderr)["error"]
    assert unknown.exit_code == 4
    again = both(
        "accept", json.loads(repeated.stdout)["id"], "--idempotency-key", error["idempotency_key"], profile="bob"
    )
    assert again.exit_code == 0, again.output
    assert "state\tcompleted" in again.stdout


def network_passes(request: httpx2.Request, deliver: Any) -> httpx2.Response:
    return deliver(request)


@pytest.mark.django_db
def test_an_interruption_names_the_key(both: Command, network: Network) -> None:
    def interrupted(request: httpx2.Request, deliver: Any) -> httpx2.Response:
        deliver(request)
        raise KeyboardInterrupt

    network.faults = [interrupted]

    stopped = both("send", "2", "--to", "bob")

    assert stopped.exit_code == 130
    key = network.requests[-1].headers["Idempotency-Key"]
    assert stopped.stderr == f"Interrupted. To learn the outcome, repeat the command with --idempotency-key {key}\n"


@pytest.mark.django_db
@pytest.mark.parametrize(
    ("faults", "status", "said"),
    [
        ([unreachable] * 4, 5, "The server cannot be reached."),
        ([answering(403, {"message": "ERROR: Authentication"}, WWW_Authenticate="Bearer")], 3, "coppice login"),
        ([answering(404, {"message": "none"}, Error_Code="wallet_not_found")], 1, "none (404 wallet_not_found)"),
        (
            [answering(400, {"message": "\x1b]0;owned\x07\u202e\nError"})],
            1,
            "Error: \ufffd]0;owned\ufffd\ufffd\ufffdError (400)",
        ),
    ],
    ids=["unreachable", "logged out", "refused", "hostile text"],
)
def test_the_exit_status_says_what_kind_of_failure(
    both: Command, network: Network, faults: list[Any], status: int, said: str
) -> None:
    network.faults = faults

    failed = both("wallets")

    assert (failed.exit_code, failed.stdout) == (status, "")
    assert said in failed.stderr
    assert "\x1b" not in failed.stderr


@pytest.mark.django_db
@pytest.mark.parametrize(
    "arguments",
    [
        ["send", "--to", "bob"],
        ["send", "2", "--token", "x", "--to", "bob"],
        ["send", "0", "--to", "bob"],
        ["send", "1", "--to", "bob", "--metadata", "north"],
        ["send", "1", "--to", "bob", "--metadata", "=north"],
        ["send", "1", "--to", "bob", "--expires-at", "soon"],
        ["send", "1", "--to", "bob", "--idempotency-key", "two words"],
        ["coins", "export", "--out", "new"],
        ["coins", "export", "1", "--all", "--out", "new"],
        ["coins", "export", "1", "--out", "/nonexistent/new"],
        ["coins", "export", "1", "--out", "."],
        ["coins", "import", "/nonexistent"],
        ["webhooks", "listen", "ftp://localhost"],
    ],
)
def test_a_wrong_command_line_sends_nothing(both: Command, network: Network, arguments: list[str]) -> None:
    before = len(network.requests)

    assert both(*arguments).exit_code == 2

    assert len(network.requests) == before


# --- Coins ------------------------------------------------------------------------------------------------------------

EXPORTED = {
    "id": "e1",
    "status": "completed",
    "progress": 100,
    "data": {"total": 20, "coins": 2, "type": "bin", "file": "20.bin", "receipt_id": "r1"},
}


@pytest.mark.django_db
def test_an_export_is_confirmed_when_its_file_is_written(both: Command, network: Network, home: Path) -> None:
    out = home / "coins.bin"

    def overtaken(request: httpx2.Request, deliver: Any) -> httpx2.Response:
        out.write_bytes(b"of another program")
        return httpx2.Response(200, content=b"coins", request=request)

    network.requests.clear()
    network.faults = [answering(200, EXPORTED), overtaken]
    failed = both("coins", "export", "20", "--out", str(out))
    assert (failed.exit_code, out.read_bytes()) == (4, b"of another program")
    assert [request.method for request in network.requests] == ["POST", "GET"]
    key = failed.stderr.split("--idempotency-key ")[1].strip()
    assert key == network.requests[0].headers["Idempotency-Key"]

    other = home / "other.bin"
    there: list[bool] = []

    def confirmed(request: httpx2.Request, deliver: Any) -> httpx2.Response:
        there.append(other.read_bytes() == b"coins")
        return httpx2.Response(200, json={"id": "e1"}, request=request)

    def fetched(request: httpx2.Request, deliver: Any) -> httpx2.Response:
        return httpx2.Response(200, content=b"coins", request=request)

    network.requests.clear()
    network.faults = [answering(200, EXPORTED), fetched, confirmed]
    done = both("coins", "export", "20", "--out", str(other), "--idempotency-key", key, "--json")
    assert (done.exit_code, there, stat.S_IMODE(other.stat().st_mode)) == (0, [True], 0o600)
    assert json.loads(done.stdout)["confirmed"] is True
    assert network.requests[0].headers["Idempotency-Key"] == key
    assert network.requests[2].url.path == "/api/v1/exports/e1/confirm"

    # A file that is written is no failure.
    network.faults = [answering(200, EXPORTED), fetched, *[unreachable] * 4]
    late = both("coins", "export", "20", "--out", str(home / "third.bin"), "--json")
    assert (late.exit_code, json.loads(late.stdout)["confirmed"]) == (0, False)
    assert "The file is written" in late.stderr


@pytest.mark.django_db
def test_a_code_that_was_shown_before_is_asked_of_the_locker(both: Command, network: Network) -> None:
    data = {"locker_id": "l1", "receipt_id": "r1", "total_stored": 20, "total_failed": 0}
    ended = {"id": "t1", "type": "put", "status": "completed", "progress": 100, "message": "Stored.", "data": data}
    warned = {"id": "t1", "status": "running", "progress": 0, "warning": "This transmit code is short"}
    network.faults = [
        answering(200, warned),
        answering(200, ended),
        answering(200, {"transmit_code": "7KQ4-M2XW-9TRD-HB6P"}),
    ]

    done = both("locker", "put", "20", "--qr")

    assert done.stdout.splitlines()[:2] == ["transmit code\t7KQ4-M2XW-9TRD-HB6P", "stored\t20"]
    assert done.stdout.count("█") > 100
    assert done.stderr == "Warning: This transmit code is short\n"
    assert network.requests[-1].url.path == "/api/v1/lockers/l1/code"


@pytest.mark.django_db
def test_a_put_names_the_time_at_which_its_locker_expires(both: Command, network: Network) -> None:
    data = {
        "transmit_code": "7KQ4-M2XW-9TRD-HB6P",
        "receipt_id": "r1",
        "total_stored": 20,
        "total_failed": 0,
        "expiry": {"expires_at": "2040-01-01T00:00:00.000Z", "outcome": "open"},
    }
    ended = {"id": "t1", "type": "put", "status": "completed", "progress": 100, "message": "Stored.", "data": data}
    network.faults = [answering(200, {"id": "t1", "status": "running", "progress": 0}), answering(200, ended)]

    done = both("locker", "put", "20", "--expires", "2040-01-01T00:00")

    assert (done.exit_code, done.stdout.splitlines()[2]) == (0, "expires\t2040-01-01 00:00:00Z")
    assert json.loads(network.requests[-2].content)["expires_at"] == "2040-01-01T00:00:00.000Z"


@pytest.mark.django_db
@pytest.mark.parametrize("how", ["stdin", "file"])
def test_a_transmit_code_is_read_as_it_is(both: Command, network: Network, home: Path, how: str) -> None:
    ended = {"id": "t1", "status": "error", "progress": 0, "message": "No locker with this code"}
    network.faults = [answering(200, {"id": "t1", "status": "running", "progress": 0}), answering(200, ended)]
    (home / "code").write_text(" a b\u00e9 \r\n")
    arguments = ["--code-file", str(home / "code")] if how == "file" else []

    failed = both("locker", "take", *arguments, "--json", typed="" if how == "file" else " a b\u00e9 \r\nmore\n")

    assert json.loads(network.requests[-2].content) == {"name": "Default", "transmit_code": " a b\u00e9 "}
    assert failed.exit_code == 1
    error = json.loads(failed.stderr)["error"]
    assert (error["message"], error["task"]) == ("No locker with this code", ended)


# --- Claim links ------------------------------------------------------------------------------------------------------


def test_a_claim_link_is_created_listed_and_claimed(both: Command) -> None:
    link = both.json("claim", "create", "2", "--message", "Thank you", "--expires-at", "24h")
    assert link["url"].endswith(f"#{link['action_token']}")
    shown = both("claim", "list")
    assert link["id"] in shown.stdout
    assert link["action_token"] not in shown.output

    claimed = both("claim", "redeem", typed=f"{link['url']}\n", profile="bob")
    assert claimed.exit_code == 0, claimed.output
    assert "alice" in claimed.stdout
    assert link["action_token"] not in claimed.output
    assert Transfer.objects.get().pk == uuid.UUID(link["id"])
    assert [row["state"] for row in both.json("claim", "list", "--state", "redeemed")] == ["redeemed"]


def test_a_claim_link_is_cancelled_and_cannot_be_claimed_then(both: Command) -> None:
    created = both("claim", "create", "1")
    assert (created.exit_code, created.stderr) == (0, "")
    fields = dict(line.split("\t") for line in created.stdout.splitlines())

    assert both.json("claim", "cancel", fields["claim link"])["state"] == "cancelled"
    refused = both("claim", "redeem", typed=fields["link"] + "\n", profile="bob")
    assert refused.exit_code != 0
    assert "has been cancelled" in refused.stderr
    assert not Transfer.objects.exists()


def test_a_claim_link_is_of_a_number_or_of_named_tokens(both: Command) -> None:
    assert both("claim", "create").exit_code == 2
    token = both.json("claim", "create", "1")
    assert token["token_count"] == 1
