"""PostgreSQL is backed up by pgBackRest as docker/pgbackrest says, and recovered to a chosen second."""

import json
import os
import re
import shutil
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest
from django.db import connection

from config.dev.embedded import ROOT
from config.seals import sealing
from lockers.models import Coin, LockerTask
from lockers.states import CoinState, Mark, TaskKind
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
# The newest server that Debian 12's pgBackRest knows.
NEWEST_SERVER = 17


class Repository:
    """A repository on disk, with the shipped configuration but for where it is."""

    def __init__(self, directory: Path, server: Standby) -> None:
        self.account = server.account
        text = re.sub(r"^repo1-(type|path|s3-[a-z-]+)=.*\n", "", SHIPPED.read_text(), flags=re.MULTILINE)
        for old, new in {
            "repo1-cipher-pass=": f"repo1-type=posix\nrepo1-path={directory}/files\nrepo1-cipher-pass={PASSPHRASE}",
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


def manage(server: Standby, *arguments: str) -> "subprocess.CompletedProcess[str]":
    return subprocess.run(
        [sys.executable, "manage.py", *arguments],
        env=os.environ | {"DATABASE_URL": server.url(), "DJANGO_SETTINGS_MODULE": "config.settings.test"},
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=False,
    )


def row(server: Standby, statement: str) -> Any:
    return server.execute(statement, database=connection.settings_dict["NAME"])


def issue(server: Standby, count: int) -> None:
    done = manage(server, "issue_tokens", "--wallet", "alice", "--count", str(count))
    assert done.returncode == 0, done.stderr


def seal(server: Standby) -> bytes:
    """Seal what is new, publish the position of events, and return the page of checkpoints."""
    done = manage(server, "shell", "--no-imports", "-c", _SEAL)
    assert done.returncode == 0, done.stderr
    return done.stdout.encode()


_SEAL = """
from config import tasks
from config.seals import proofs, sealing
from transfers.seal_models import Seal
import json
tasks.publish_position()
assert sealing.seal(is_due=True) == 1
print(json.dumps({"checkpoints": [proofs.checkpoint(seal) for seal in Seal.objects.order_by("height")]}))
"""


def test_the_database_is_recovered_to_a_chosen_second_and_its_tasks_in_flight_are_doubted(tmp_path: Path) -> None:
    alice = wallets.create_wallet(name="alice")
    transfers.issue_tokens(wallet=alice, count=10)
    task = LockerTask.objects.create(
        kind=TaskKind.PUT, wallet=alice, actor=alice, receipt_id="0" * 32, deadline="2999-01-01 00:00Z", progress=5
    )
    Coin.objects.create(
        wallet=alice, denomination=0, serial_number=1, state=CoinState.LIMBO, origin=TaskKind.IMPORT, pown="p" * 25,
        secrets=b"sealed", proposed=b"sealed", task=task, batch=0, outcome=Mark.UNASKED * 25,
    )  # fmt: skip

    sealing.seal(is_due=True)
    with streaming_standby(archive_mode="on") as server:
        if int(server.execute("SHOW server_version")[0].partition(".")[0]) > NEWEST_SERVER:
            pytest.skip("pgBackRest of this machine does not know this version of PostgreSQL")
        # A copy of the server of the tests, from now on a primary.
        server.catch_up()
        repository = Repository(server.directory / "pgbackrest", server)
        archive = " ".join(repository.command("archive-push", "%%p"))
        server.execute(f"ALTER SYSTEM SET archive_command = '{archive}'")
        server.execute("SELECT pg_reload_conf()")
        server.promote()
        # Until then the control file has the timeline before.
        server.execute("CHECKPOINT")
        repository.run("stanza-create")
        repository.run("--type=full", "backup")
        issue(server, 5)
        # A promoted server continues the chain.
        before = seal(server)
        time.sleep(0.1)
        (moment,) = server.execute("SELECT clock_timestamp()::text")
        time.sleep(0.1)
        issue(server, 7)
        after = seal(server)
        assert row(server, "SELECT count(*) FROM wallets_token") == (22,)
        (segment,) = server.execute("SELECT pg_walfile_name(pg_switch_wal())")
        until_archived(server, segment)
        server.stop()

        repository.run("--delta", "--type=time", f"--target={moment}", "--target-action=promote", "restore")
        server.start()
        until(lambda: server.execute("SELECT pg_is_in_recovery()") == (False,))

        assert row(server, "SELECT count(*) FROM wallets_token") == (15,)
        assert row(server, "SELECT outcome FROM lockers_coin") == (Mark.UNASKED * 25,)
        accepted = manage(server, "accept_recovery")
        assert accepted.returncode == 0, accepted.stderr
        assert "Nothing was lost or doubled" in accepted.stdout
        assert "1 tasks were under way then" in accepted.stdout
        assert row(server, "SELECT outcome FROM lockers_coin") == (Mark.SENT * 25,)
        kept = {name: tmp_path / name for name in ("before", "after")}
        kept["before"].write_bytes(before)
        kept["after"].write_bytes(after)
        assert row(server, "SELECT max(height) FROM transfers_seal") == (2,)
        lacks = manage(server, "verify", "--checkpoints", str(kept["after"]))
        assert lacks.returncode == 1
        assert "seal 3 was kept and is not here" in lacks.stderr
        issue(server, 1)
        seal(server)
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


def until_archived(server: Standby, segment: str) -> None:
    until(lambda: server.execute("SELECT coalesce(last_archived_wal, '') >= %s FROM pg_stat_archiver", [segment])[0])
