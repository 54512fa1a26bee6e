"""PostgreSQL is backed up by pgBackRest as docker/pgbackrest says, and recovered to a chosen second."""

import json
import re
import shutil
import socket
import subprocess
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, nullcontext
from pathlib import Path
from typing import Any

import pytest
from django.db import connection

from config.dev.embedded import ROOT
from config.seals import sealing
from lockers.models import Coin, LockerTask
from lockers.states import CoinState, Mark, TaskKind
from tests.lockers.conftest import mint_on, network, running_network  # noqa: F401 - fixtures
from tests.support.coin_commands import give, steal
from tests.support.local_network import LocalNetwork
from tests.support.recovery import archive_all, manage
from tests.support.redis_processes import free_port
from tests.support.standby import Standby, streaming_standby
from tests.support.waiting import until
from transfers import operations as transfers
from wallets import operations as wallets

pytestmark = [
    pytest.mark.django_db(transaction=True),
    pytest.mark.skipif(shutil.which("pgbackrest") is None, reason="NO PGBACKREST: install pgbackrest to test recovery"),
]
SHIPPED = ROOT / "docker/pgbackrest/pgbackrest.conf"
PASSPHRASE = "only for this test"
S3_SERVER = ROOT / "tests/support/s3/node_modules/.bin/s3rver"
STORES = [
    pytest.param(
        "s3", marks=pytest.mark.skipif(not S3_SERVER.exists(), reason="NO S3RVER: run npm ci --prefix tests/support/s3")
    )
]
# The newest server that Debian 12's pgBackRest knows.
NEWEST_SERVER = 17


@contextmanager
def s3_store(directory: Path) -> Iterator[dict[str, str]]:
    """Run an S3 store with an empty bucket, and yield the options of pgBackRest for it."""
    directory.mkdir()
    key, certificate = directory / "key.pem", directory / "certificate.pem"
    make = ["openssl", "req", "-x509", "-newkey", "rsa:2048", "-nodes", "-subj", "/CN=localhost", "-days", "2"]
    subprocess.run([*make, "-keyout", key, "-out", certificate], check=True, capture_output=True)
    port = free_port()
    command = [S3_SERVER, "--directory", directory, "--address", "127.0.0.1", "--port", str(port), "--silent"]
    command += ["--key", key, "--cert", certificate, "--no-vhost-buckets", "--configure-bucket", "coppice-backups"]
    with subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL) as process:
        try:
            until(lambda: accepts(port))
            yield {
                "s3-endpoint": "127.0.0.1",
                "s3-key": "S3RVER",
                "s3-key-secret": "S3RVER",
                "s3-uri-style": "path",
                "storage-host": "127.0.0.1",
                "storage-port": str(port),
                "storage-verify-tls": "n",
            }
        finally:
            process.terminate()


def accepts(port: int) -> bool:
    with socket.socket() as tried:
        return tried.connect_ex(("127.0.0.1", port)) == 0


class Repository:
    """A repository with the shipped configuration, except for its place: an S3 store, or the disk."""

    def __init__(self, directory: Path, server: Standby, store: Mapping[str, str] | None) -> None:
        self.account = server.account
        text = SHIPPED.read_text()
        if store is None:
            text = re.sub(r"^repo1-(type|path|s3-[a-z-]+)=.*\n", "", text, flags=re.MULTILINE)
            options = f"repo1-type=posix\nrepo1-path={directory}/files\n"
        else:
            # pgBackRest does not replace the first value of an option by a second one.
            text = re.sub(rf"^repo1-({'|'.join(store)})=.*\n", "", text, flags=re.MULTILINE)
            options = "".join(f"repo1-{name}={value}\n" for name, value in store.items())
        for old, new in {
            "repo1-cipher-pass=": f"{options}repo1-cipher-pass={PASSPHRASE}",
            "pg1-path=/var/lib/postgresql/17/main": (
                f"pg1-path={server.directory}/data\npg1-socket-path={server.directory}"
            ),
            "pg1-user=postgres": "pg1-user=coppice",
        }.items():
            assert old in text
            text = text.replace(old, new)
        text += f"\n[global]\nlock-path={directory}/lock\nspool-path={directory}/spool\n"
        directory.mkdir()
        self.configuration = directory / "pgbackrest.conf"
        self.configuration.write_text(text)
        if self.account is not None:
            shutil.chown(directory, self.account)
            shutil.chown(self.configuration, self.account)

    def command(self, *arguments: str) -> list[str]:
        return ["pgbackrest", f"--config={self.configuration}", "--stanza=coppice", *arguments]

    def run(self, *arguments: str) -> str:
        done = subprocess.run(
            self.command(*arguments), user=self.account, capture_output=True, text=True, cwd="/", check=False
        )
        assert done.returncode == 0, done.stdout + done.stderr
        return done.stdout


def row(server: Standby, statement: str) -> Any:
    return server.execute(statement, database=connection.settings_dict["NAME"])


def issue_and_seal(server: Standby, count: int) -> bytes:
    """Issue tokens, seal what is new, publish the position of events, and return the page of checkpoints."""
    done = manage(server, "shell", "--no-imports", "-c", _ISSUE_AND_SEAL.format(count=count))
    assert done.returncode == 0, done.stderr
    return done.stdout.splitlines()[-1].encode()


_ISSUE_AND_SEAL = """
from django.core.management import call_command
from config import tasks
from config.seals import proofs, sealing
from transfers.seal_models import Seal
import json
call_command("issue_tokens", wallet="alice", count={count})
tasks.publish_position()
assert sealing.seal(is_due=True) == 1
print(json.dumps(dict(checkpoints=[proofs.checkpoint(seal) for seal in Seal.objects.order_by("height")])))
"""


# On disk where there is no store.
@pytest.mark.parametrize("store", STORES if S3_SERVER.exists() else ["disk", *STORES])
def test_the_database_is_recovered_to_a_chosen_second_and_its_tasks_in_flight_are_doubted(
    network: LocalNetwork,  # noqa: F811
    tmp_path: Path,
    store: str,
) -> None:
    alice = wallets.create_wallet(name="alice")
    give(alice, mint_on(network, 0, 0))
    kept_coin, moved_coin = Coin.objects.order_by("id")
    transfers.issue_tokens(wallet=alice, count=10)
    task = LockerTask.objects.create(
        kind=TaskKind.PUT, wallet=alice, actor=alice, receipt_id="0" * 32, deadline="2999-01-01 00:00Z", progress=5
    )
    Coin.objects.create(
        wallet=alice, denomination=0, serial_number=1, state=CoinState.LIMBO, origin=TaskKind.IMPORT, pown="p" * 25,
        secrets=b"sealed", proposed=b"sealed", task=task, batch=0, outcome=Mark.UNASKED * 25,
    )  # fmt: skip

    sealing.seal(is_due=True)
    with (
        s3_store(tmp_path / "store") if store == "s3" else nullcontext() as options,
        streaming_standby(archive_mode="on") as server,
    ):
        if int(server.execute("SHOW server_version")[0].partition(".")[0]) > NEWEST_SERVER:
            pytest.skip("pgBackRest of this machine does not know this version of PostgreSQL")
        # A copy of the server of the tests, from now on a primary.
        server.catch_up()
        repository = Repository(server.directory / "pgbackrest", server, options)
        archive = " ".join(repository.command("archive-push", "%%p"))
        server.execute(f"ALTER SYSTEM SET archive_command = '{archive}'")
        server.execute("SELECT pg_reload_conf()")
        server.promote()
        # Until then the control file has the timeline before.
        server.execute("CHECKPOINT")
        repository.run("stanza-create")
        repository.run("--type=full", "backup")
        # A promoted server continues the chain.
        before = issue_and_seal(server, 5)
        time.sleep(0.1)
        (moment,) = server.execute("SELECT clock_timestamp()::text")
        time.sleep(0.1)
        # After the moment the servers changed too: for example, a locker was opened.
        steal(moved_coin)
        after = issue_and_seal(server, 7)
        assert row(server, "SELECT count(*) FROM wallets_token") == (22,)
        archive_all(server)
        server.stop()

        repository.run("--delta", "--type=time", f"--target={moment}", "--target-action=promote", "restore")
        server.start()
        until(lambda: server.execute("SELECT pg_is_in_recovery()") == (False,))

        assert row(server, "SELECT count(*) FROM wallets_token") == (15,)
        of_task = "SELECT outcome FROM lockers_coin WHERE task_id IS NOT NULL"
        assert row(server, of_task) == (Mark.UNASKED * 25,)
        accepted = manage(server, "accept_recovery")
        assert accepted.returncode == 0, accepted.stderr
        assert "Nothing was lost or doubled" in accepted.stdout
        assert "1 tasks were under way then" in accepted.stdout
        assert row(server, of_task) == (Mark.SENT * 25,)
        audited = manage(server, "audit", "--servers")
        assert audited.returncode == 1
        (finding,) = [line for line in audited.stderr.splitlines() if line.startswith("coin in a wallet")]
        assert finding == f"coin in a wallet is accepted by the servers: {moved_coin} is refused by 25"
        assert str(kept_coin) not in audited.stderr
        kept = {name: tmp_path / name for name in ("before", "after")}
        kept["before"].write_bytes(before)
        kept["after"].write_bytes(after)
        assert row(server, "SELECT max(height) FROM transfers_seal") == (2,)
        lacks = manage(server, "verify", "--checkpoints", str(kept["after"]))
        assert lacks.returncode == 1
        assert "seal 3 was kept and is not here" in lacks.stderr
        issue_and_seal(server, 1)
        differs = manage(server, "verify", "--checkpoints", str(kept["after"]))
        assert differs.returncode == 1
        assert "seal 3 is another than the one that was kept" in differs.stderr
        assert "up to height 2 alone. After a recovery to an earlier moment" in differs.stderr
        continued = manage(server, "verify", "--checkpoints", str(kept["before"]))
        assert continued.returncode == 0, continued.stderr
        assert "3 seals with" in continued.stdout
        assert manage(server, "record_backup", "--bytes", "12").returncode == 0
        assert row(server, "SELECT bytes, now() - made_at < interval '1 minute' FROM desk_backup") == (12, True)

        (shown,) = json.loads(repository.run("--output=json", "info"))
        assert (shown["cipher"], shown["status"]["message"]) == ("aes-256-cbc", "ok")
        assert len(shown["backup"]) == 1
