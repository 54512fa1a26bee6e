"""PostgreSQL is backed up by its own programs as docs/operations.md says, and recovered to a chosen second."""

import re
import shutil
import subprocess
from pathlib import Path

import pytest
from django.db import connection

from config.dev.embedded import ROOT
from tests.support.recovery import archive_all, manage
from tests.support.standby import streaming_standby
from tests.support.waiting import until
from transfers import operations as transfers
from wallets import operations as wallets

# In one process, since each start takes a second.
_ISSUE_BEFORE_AND_AFTER = """
import time
from django.core.management import call_command
from django.db import connection
call_command("issue_tokens", wallet="alice", count=5)
time.sleep(0.1)
with connection.cursor() as cursor:
    cursor.execute("SELECT clock_timestamp()::text")
    print("moment", cursor.fetchone()[0])
time.sleep(0.1)
call_command("issue_tokens", wallet="alice", count=7)
"""


def documented(name: str, directory: Path) -> str:
    """Return the value of a setting in the docs, with another place of the backups."""
    page = (ROOT / "docs/operations.md").read_text(encoding="utf-8")
    (value,) = re.findall(rf"^ *{name} = '(.*/backups/wal.*)'$", page, re.MULTILINE)
    return value.replace("/backups", str(directory))


@pytest.mark.django_db(transaction=True)
def test_the_database_is_recovered_to_a_chosen_second_from_a_base_backup_and_the_archived_log() -> None:
    transfers.issue_tokens(wallet=wallets.create_wallet(name="alice"), count=10)
    with streaming_standby(archive_mode="on") as server:
        backups, data = server.directory / "backups", server.directory / "data"
        for directory in (backups, backups / "wal"):
            directory.mkdir()
            if server.account is not None:
                shutil.chown(directory, server.account)
        server.catch_up()
        archive = documented("archive_command", backups).replace("%", "%%")
        server.execute(f"ALTER SYSTEM SET archive_command = '{archive}'")
        server.execute("SELECT pg_reload_conf()")
        server.promote()
        for command in (
            ("pg_basebackup", "-D", backups / "base", "--checkpoint=fast", "--no-sync", "-d", server.url("postgres")),
            ("pg_verifybackup", backups / "base"),
        ):
            done = subprocess.run(
                [server.programs / command[0], *command[1:]],
                user=server.account, extra_groups=[], capture_output=True, text=True, cwd="/", check=False,
            )  # fmt: skip
            assert done.returncode == 0, done.stderr
        issued = manage(server, "shell", "--no-imports", "-c", _ISSUE_BEFORE_AND_AFTER)
        assert issued.returncode == 0, issued.stderr
        (moment,) = re.findall("^moment (.+)$", issued.stdout, re.MULTILINE)
        database, tokens = connection.settings_dict["NAME"], "SELECT count(*) FROM wallets_token"
        assert server.execute(tokens, database=database) == (22,)
        archive_all(server)
        server.stop()

        shutil.rmtree(data)
        (backups / "base").rename(data)
        (data / "recovery.signal").touch()
        with (data / "postgresql.auto.conf").open("a", encoding="utf-8") as settings:
            settings.write(
                f"restore_command = '{documented('restore_command', backups)}'\n"
                f"recovery_target_time = '{moment}'\nrecovery_target_action = 'promote'\n"
            )
        server.start()
        until(lambda: server.execute("SELECT pg_is_in_recovery()") == (False,))

        assert server.execute(tokens, database=database) == (15,)
        accepted = manage(server, "accept_recovery")
        assert accepted.returncode == 0, accepted.stderr
        assert "Nothing was lost or doubled" in accepted.stdout


def test_a_segment_that_is_archived_already_is_not_replaced_and_fails_if_it_differs(tmp_path: Path) -> None:
    """PostgreSQL archives a segment again if it crashed before it had noted that it is archived."""
    (tmp_path / "wal").mkdir()
    segment, archived = tmp_path / "segment", tmp_path / "wal" / "000000010000000000000001"
    command = documented("archive_command", tmp_path).replace("%p", str(segment)).replace("%f", archived.name)
    results = []
    for content in ("first", "first", "other"):
        segment.write_text(content)
        results.append(subprocess.run(["/bin/sh", "-c", command], check=False).returncode == 0)

    assert results == [True, True, False]
    assert archived.read_text() == "first"
