"""A server that is recovered from a backup and the archived log, and commands that run on its database."""

import os
import subprocess
import sys

from django.conf import settings

from config.dev.embedded import ROOT
from tests.support.standby import Standby
from tests.support.waiting import until


def manage(server: Standby, *arguments: str) -> "subprocess.CompletedProcess[str]":
    """Run a command of `manage.py` on the server's database of the running test."""
    hosts = {"COPPICE_RAIDA_HOSTS": ",".join(settings.RAIDA_HOSTS)}
    return subprocess.run(
        [sys.executable, "manage.py", *arguments],
        env=os.environ | hosts | {"DATABASE_URL": server.url(), "DJANGO_SETTINGS_MODULE": "config.settings.test"},
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=False,
    )


def archive_all(server: Standby) -> None:
    """Begin a new segment of the log, and wait until all before it are archived."""
    (segment,) = server.execute("SELECT pg_walfile_name(pg_switch_wal())")
    until(lambda: server.execute("SELECT coalesce(last_archived_wal, '') >= %s FROM pg_stat_archiver", [segment])[0])
