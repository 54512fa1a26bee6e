"""Private servers: where they are, which binaries they run, and how they come back after a fall."""

import json
import os
import signal
import socket
import subprocess
import sys
import time
from pathlib import Path

import psycopg
import pytest

from config.dev import embedded, ports, private_servers
from config.dev.processes import Children, StartError
from tests.config.conftest import OF_ANOTHER_SERVER, Process, processes


@pytest.fixture
def no_servers_named(monkeypatch: pytest.MonkeyPatch, state: Path) -> None:
    for name in ("DATABASE_URL", "REDIS_URL", "COPPICE_SECRET_KEY", "COPPICE_VAULT_KEY", "COPPICE_RAIDA_HOSTS"):
        # Set before deleted, so that what the test fills in is taken back after it.
        monkeypatch.setenv(name, "")
        monkeypatch.delenv(name)
    monkeypatch.setenv("COPPICE_SECURE", "")
    monkeypatch.setenv("COPPICE_STATE_DIR", str(state))


def test_the_environment_is_filled_where_it_is_empty(no_servers_named: None, state: Path) -> None:
    embedded.fill_environment()

    assert os.environ["DATABASE_URL"] == f"postgresql://coppice@/coppice?host={embedded.runtime_directory(state)}/pg"
    assert os.environ["REDIS_URL"] == f"unix://{embedded.runtime_directory(state)}/valkey.sock?db=0"
    # Nothing runs from here, and at the usual ports another installation may listen.
    assert "COPPICE_RAIDA_HOSTS" not in os.environ
    assert {path.name: oct(path.stat().st_mode & 0o777) for path in state.iterdir()} == {
        "secret_key": "0o600",
        "vault_key": "0o600",
    }


def test_secrets_stay_the_same_from_start_to_start(no_servers_named: None, monkeypatch: pytest.MonkeyPatch) -> None:
    embedded.fill_environment()
    first = os.environ["COPPICE_SECRET_KEY"], os.environ["COPPICE_VAULT_KEY"]
    for name in ("DATABASE_URL", "COPPICE_SECRET_KEY", "COPPICE_VAULT_KEY"):
        monkeypatch.delenv(name)

    embedded.fill_environment()

    assert (os.environ["COPPICE_SECRET_KEY"], os.environ["COPPICE_VAULT_KEY"]) == first


def test_a_named_database_is_never_given_made_up_secrets(
    no_servers_named: None, monkeypatch: pytest.MonkeyPatch, state: Path
) -> None:
    monkeypatch.setenv("DATABASE_URL", "postgresql://db/production")

    embedded.fill_environment()

    assert os.environ["DATABASE_URL"] == "postgresql://db/production"
    assert "COPPICE_VAULT_KEY" not in os.environ
    assert list(state.iterdir()) == []


def test_a_private_database_obeys_no_variable_of_libpq_and_a_named_one_does(
    no_servers_named: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name, value in OF_ANOTHER_SERVER.items():
        monkeypatch.setenv(name, value)
    monkeypatch.setenv("DATABASE_URL", "postgresql://db/production")
    embedded.fill_environment()
    assert {name for name in os.environ if name in OF_ANOTHER_SERVER} == {*OF_ANOTHER_SERVER}

    monkeypatch.delenv("DATABASE_URL")
    embedded.fill_environment()

    assert {name for name in os.environ if name.startswith("PG")} == set()


def test_nothing_is_filled_in_where_private_servers_are_switched_off(
    no_servers_named: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("COPPICE_EMBEDDED", "off")

    embedded.fill_environment()

    assert "DATABASE_URL" not in os.environ
    assert "REDIS_URL" not in os.environ


def test_the_path_of_a_socket_stays_short_however_deep_the_state_directory_is() -> None:
    deep = Path("/home/somebody") / ("a long name with spaces " * 8) / ("and another " * 8) / ".state"

    longest = embedded.runtime_directory(deep) / "pg" / ".s.PGSQL.5432"

    assert len(os.fsencode(longest)) < 107


def test_ports_of_the_local_network_are_kept_and_replaced_when_they_are_taken(
    state: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    # The usual ones are for installations. These are for this test: others, and the kernel, choose from higher ones.
    monkeypatch.setattr(ports, "FIRST_RAIDA_PORT", 10_000 + os.getpid() % 400 * 25)
    first = ports.choose_raida_port(state)
    assert json.loads((state / "ports.json").read_text()) == {"raida": first}
    assert ports.choose_raida_port(state) == first

    # A datagram socket alone is enough to make the port unusable.
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as other:
        other.bind(("127.0.0.1", first + 24))
        second = ports.choose_raida_port(state)
        with pytest.raises(StartError, match=f"needs ports {first} to {first + 24}; port {first + 24} is in use"):
            ports.choose_raida_port(state, wanted=first)

    assert not set(range(second, second + 25)) & set(range(first, first + 25))
    assert ports.stored_raida_port(state) == second


def test_a_cluster_of_another_version_is_refused_and_left_alone(state: Path) -> None:
    postgres = private_servers.Postgres(state)
    cluster = state / f"pg{postgres.binaries().major}"
    cluster.mkdir()
    (cluster / "PG_VERSION").write_text("9.6\n")

    with Children(state) as children, pytest.raises(StartError, match=r"was created by PostgreSQL 9\.6 and cannot"):
        postgres.start(children)

    assert [path.name for path in cluster.iterdir()] == ["PG_VERSION"]


def test_data_for_which_no_binaries_are_here_is_refused_instead_of_starting_empty(state: Path) -> None:
    cluster = state / "pg99"
    cluster.mkdir()
    (cluster / "PG_VERSION").write_text("99\n")

    with pytest.raises(StartError, match="holds data of PostgreSQL 99, and only"):
        private_servers.Postgres(state).binaries()


def test_what_an_interrupted_initdb_left_is_no_data(state: Path) -> None:
    postgres = private_servers.Postgres(state)
    chosen = postgres.binaries()
    left = state / "pg99.new"
    left.mkdir()
    (left / "PG_VERSION").write_text("99\n")

    assert postgres.binaries() == chosen


@pytest.mark.parametrize("origin", ["system", "wheel"])
def test_an_acknowledged_row_survives_kill_9_and_a_lock_that_a_live_process_seems_to_hold(
    state: Path, monkeypatch: pytest.MonkeyPatch, origin: str
) -> None:
    monkeypatch.setenv("COPPICE_EMBEDDED_PREFER", origin)
    postgres = private_servers.Postgres(state)
    try:
        postgres.binaries()
    except StartError:
        pytest.skip(f"no PostgreSQL from {origin} on this machine")
    with Children(state) as children:
        postgres.start(children)
        with psycopg.connect(embedded.database_url(state), autocommit=True) as connection:
            connection.execute("CREATE TABLE kept (n int)")
            connection.execute("INSERT INTO kept VALUES (7)")
        postgres.child.process.send_signal(signal.SIGKILL)
        postgres.child.process.wait()
        with pytest.raises(StartError, match=r"PostgreSQL was killed by SIGKILL\. Its log: .*postgresql\.log"):
            children.check()
    (lock,) = state.glob("pg*/postmaster.pid")
    # The number of the killed server now belongs to another process of the same user, as it may in a container.
    with subprocess.Popen(["sleep", "60"], user=postgres.account) as stranger:
        lines = lock.read_text().splitlines()
        lock.write_text("\n".join([str(stranger.pid), *lines[1:]]) + "\n")

        again = private_servers.Postgres(state)
        with Children(state) as children:
            again.start(children)
            with psycopg.connect(embedded.database_url(state)) as connection:
                rows = connection.execute("SELECT n FROM kept").fetchall()
        assert stranger.poll() is None
        stranger.kill()

    assert rows == [(7,)]
    assert not list(state.glob("pg*/postmaster.pid"))
    assert not embedded.runtime_directory(state).exists()


def test_what_the_broker_was_given_survives_kill_9(state: Path) -> None:
    def ask(line: bytes) -> bytes:
        with socket.socket(socket.AF_UNIX) as connection:
            connection.connect(str(valkey.socket))
            connection.sendall(line)
            return connection.recv(100)

    valkey = private_servers.Valkey(state)
    with Children(state) as children:
        valkey.start(children)
        assert ask(b"SET bell rung\r\n") == b"+OK\r\n"
        assert ask(b"CONFIG GET appendonly\r\n") == b"*2\r\n$10\r\nappendonly\r\n$3\r\nyes\r\n"
        # The file is synced every second; what was written reaches the kernel before the answer leaves.
        valkey.child.process.kill()
        valkey.child.process.wait()

    with Children(state) as children:
        private_servers.Valkey(state).start(children)
        assert ask(b"GET bell\r\n") == b"$4\r\nrung\r\n"


def test_children_end_when_their_parent_is_killed(state: Path) -> None:
    script = (
        "import sys, time; from pathlib import Path; from config.dev.processes import Children; "
        "children = Children(Path(sys.argv[1])).__enter__(); "
        "child = children.spawn('a group', ['/bin/sh', '-c', 'sleep 300 & sleep 300']); "
        "print(child.pid, flush=True); time.sleep(300)"
    )
    command = [sys.executable, "-c", script, str(state)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True, cwd=embedded.ROOT) as parent:
        group = int(parent.stdout.readline())
        assert processes_of(group)
        parent.kill()

    # Its leader ends when asked; the leader's own children have to be killed.
    deadline = time.monotonic() + 60
    while processes_of(group) and time.monotonic() < deadline:
        time.sleep(0.1)
    assert processes_of(group) == []


def processes_of(group: int) -> list[Process]:
    return [process for process in processes() if process.group == group]
