"""
Reads the SQL and Lua files of the apps.

`<app>/sql/<name>.sql` holds one query, with psycopg's named parameters (`%(name)s`). `<app>/sql/schema/<name>.sql`
holds one object of the database (function, trigger, sequence, constraint); a migration creates it. A schema file that
a released migration names is not edited: a new migration replaces the object from a new file, `<name>__2.sql`.
`<app>/lua/<name>.lua` holds one script for the Redis-protocol server.
"""

from functools import cache
from pathlib import Path

from django.db.migrations import RunSQL

_ROOT = Path(__file__).resolve().parents[1]


@cache
def load(app: str, name: str, **parts: str) -> str:
    """
    Return the text of `<app>/sql/<name>.sql` without its comments; a process reads each file once.

    `app` is the path of the package: "transfers", "config/ops". `parts` are SQL to put in place of `{placeholders}`.

    :raises FileNotFoundError: there is no such file
    """
    text = (_ROOT / app / "sql" / f"{name}.sql").read_text(encoding="utf-8")
    for placeholder, part in parts.items():
        text = text.replace(f"{{{placeholder}}}", part)
    return "\n".join(line for line in text.splitlines() if not line.startswith("--"))


def load_lua(app: str, name: str) -> str:
    """
    Return the text of `<app>/lua/<name>.lua`.

    :raises FileNotFoundError: there is no such file
    """
    return (_ROOT / app / "lua" / f"{name}.lua").read_text(encoding="utf-8")


def create_object(app: str, name: str, *, drop: str) -> RunSQL:
    """The migration operation that creates the object of `<app>/sql/schema/<name>.sql`; `drop` is its reverse."""
    return RunSQL(load(app, f"schema/{name}"), drop)
