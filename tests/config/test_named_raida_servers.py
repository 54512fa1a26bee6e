"""A system that is given the 25 servers to use."""

import os
import signal
from pathlib import Path

from tests.config.conftest import OF_ANOTHER_SERVER, left_behind, manage
from tests.ports import silent_ports
from tests.support.databases import database_url
from tests.support.launcher import read_until, up


def test_the_system_uses_the_servers_that_are_named_and_starts_none(
    bare_environment: dict[str, str], state: Path, transactional_db: None
) -> None:
    # The database and Redis of the tests, which are migrated and run.
    named = {name: value for name, value in bare_environment.items() if name not in OF_ANOTHER_SERVER} | {
        "DATABASE_URL": database_url(), "COPPICE_SECURE": "false",
        **{name: os.environ[name] for name in ("REDIS_URL", "COPPICE_SECRET_KEY", "COPPICE_VAULT_KEY")},
    }  # fmt: skip
    with silent_ports(25) as ports:
        hosts = ",".join(f"127.0.0.1:{port}" for port in ports)
        with up({**named, "COPPICE_RAIDA_HOSTS": hosts}) as process:
            printed = read_until(process, "Ctrl-C stops the system")
            children = {log.stem for log in (state / "log").glob("*.log")}
            examined = manage("doctor", environment=named)
            process.send_signal(signal.SIGINT)
            assert process.wait(timeout=60) == 0

    assert f"the 25 servers of COPPICE_RAIDA_HOSTS, 127.0.0.1:{ports[0]} first" in " ".join(printed.split())
    assert "no local network is started" in " ".join(printed.split())
    assert children.isdisjoint({"raida", "postgresql", "valkey"})
    assert "worker" in children
    # The command asks the servers of the system, and no others.
    assert "no server answers" in examined.stdout


def test_servers_that_are_not_25_and_the_demo_are_refused(bare_environment: dict[str, str], state: Path) -> None:
    wrong = manage("up", environment={**bare_environment, "COPPICE_RAIDA_HOSTS": "localhost:50000"})
    demo = manage("demo", environment={**bare_environment, "COPPICE_RAIDA_HOSTS": "x:1," * 24 + "x:1"})

    assert (wrong.returncode, demo.returncode) == (1, 1)
    assert "COPPICE_RAIDA_HOSTS" in wrong.stdout + wrong.stderr
    assert "unset COPPICE_RAIDA_HOSTS" in demo.stdout
    assert left_behind(state) == []
