"""The row locks that statements take: which table, in which order, in which mode."""

import re
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, Final

from django.db import connection

_INNERMOST: Final = re.compile(r"\(([^()]*)\)")
_LOCK: Final = re.compile(r"\bFOR (?P<mode>(?:NO KEY )?UPDATE|(?:KEY )?SHARE)(?P<rest>(?: OF \w+)?(?: SKIP LOCKED)?)")
_ORDER: Final = re.compile(r"\bORDER BY (.+?)\s*(?:\b(?:LIMIT|OFFSET)\b.*)?$", re.DOTALL)
_ADVISORY: Final = re.compile(r"\bpg_(try_)?advisory_xact_lock(_shared)?")
_TABLE: Final = re.compile(r"\b(?:FROM|JOIN) (\w+)(?: AS (\w+))?")


def locks_of(statement: str) -> Iterator[str]:
    """Each lock of a statement, such as `wallets_token by lot, id: NO KEY UPDATE`, or `advisory`."""
    statement = re.sub(r"--[^\n]*", "", statement).replace('"', "")
    yield from (f"advisory{shared}{', if free' if tried else ''}" for tried, shared in _ADVISORY.findall(statement))
    while found := _INNERMOST.findall(statement):
        for query in found:
            yield from _locks_of_query(query)
        statement = _INNERMOST.sub("", statement)
    yield from _locks_of_query(statement)


def _locks_of_query(query: str) -> Iterator[str]:
    for lock in _LOCK.finditer(query):
        tables = [(alias or table, table) for table, alias in _TABLE.findall(query[: lock.start()])]
        of = lock["rest"].removeprefix(" OF ").split(" ")[0] if " OF " in lock["rest"] else ""
        locked = dict(tables).get(of) or tables[0][1]
        order = _ORDER.search(query[: lock.start()].strip())
        names = ", ".join(each.split(".")[-1] for each in " ".join(order[1].split()).split(", ")) if order else ""
        how = lock["mode"] + lock["rest"].replace(f" OF {of}", "")
        yield f"{locked}{f' by {names}' if names else ''}: {how}"


@contextmanager
def recorded() -> Iterator[set[str]]:
    """The locks that the statements of this connection take meanwhile."""
    found: set[str] = set()

    def note(execute: Any, statement: Any, parameters: Any, many: bool, context: Any) -> Any:
        found.update(
            f"{number} {lock}" if number > 1 else lock for lock, number in Counter(locks_of(statement)).items()
        )
        return execute(statement, parameters, many, context)

    with connection.execute_wrapper(note):
        yield found
