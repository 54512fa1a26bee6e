"""The database's limit: the very statements that a request sends, written down from one request, run by pgbench."""

import json
import re
import tempfile
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, NamedTuple

from django.db import connection
from django.test import Client
from psycopg import sql

from tests.benchmarks.data import PAIRS, Estate
from tests.benchmarks.machine import Machine

_LEDGER = "INSERT INTO transfers_transfer"
# A value that no other transaction has, made of numbers that pgbench draws.
_UNIQUE = "md5(:a::text || '-' || :b::text || '-{}')"


class Statement(NamedTuple):
    """One statement of a request: its text with placeholders, and what stood in their place."""

    text: str
    values: Mapping[str, Any] | Sequence[Any]


@contextmanager
def _recorded() -> Iterator[list[Statement]]:
    statements: list[Statement] = []

    def record(execute: Callable[..., Any], text: str, values: Any, many: bool, context: Any) -> Any:
        statements.append(Statement(text, values or ()))
        return execute(text, values, many, context)

    with connection.execute_wrapper(record):
        yield statements


def statements_of_a_transfer(estate: Estate, *, sender: str, receiver: str, size: int) -> list[Statement]:
    """Send one transfer, with an idempotency key, and return the statements that it took of somebody known."""
    body = {"sender_wallet": sender, "receiver_wallet": receiver, "bundle": {"bundle_size": size}}
    client = Client(SERVER_NAME="localhost")
    client.get("/wallets?limit=1", headers=estate.headers)
    with _recorded() as statements:
        answer = client.post(
            "/transfers",
            json.dumps(body),
            content_type="application/json",
            headers={**estate.headers, "Idempotency-Key": f"recorded-{sender}-{receiver}"},
        )
    if answer.status_code != 201:
        raise RuntimeError(answer.content)
    return statements


def _written(statement: Statement, replacements: Mapping[str, str]) -> str:
    """Return the statement for pgbench: what differs from request to request drawn by it, the rest as it was."""

    def literal(value: Any) -> str:
        if isinstance(value, str) and value in replacements:
            return replacements[value]
        return sql.Literal(value).as_string(connection.connection)

    if isinstance(statement.values, Mapping):
        values = statement.values

        def named(match: "re.Match[str]") -> str:
            name = match[1]
            if name in replacements:
                return replacements[name]
            return literal(values[name])

        text = re.sub(r"%\((\w+)\)s", named, statement.text)
    else:
        remaining = iter(statement.values)
        text = re.sub(r"%s", lambda match: literal(next(remaining)), statement.text)
    # pgbench takes a colon before a letter for a variable, also inside a text.
    text = re.sub(r"(HH24):(MI):(SS)", r"\1.\2.\3", text)
    text = re.sub(r'(":)(?=true|false|null)', r"\1 ", text)
    return " ".join(text.replace("%%", "%").split()) + ";"


def _script(statements: Sequence[Statement], *, here: str, there: str, only_the_ledger: bool, and_back: bool) -> str:
    """There, and back if that is wanted, each statement a transaction as the request's."""
    # One pair for both directions, or wallets would run dry.
    lines = [f"\\set pair random(0, {PAIRS - 1})"]
    directions = [(here, there), (there, here)] if and_back else [(here, there)]
    for number, (source, destination) in enumerate(directions):
        unique = _UNIQUE.format(number)
        replacements = {
            "id": f"{unique}::uuid",
            "shuffle_key": ":lot",
            "source_key": source,
            "destination_key": destination,
            "key": unique,
        }
        for statement in statements:
            values = statement.values
            if isinstance(values, Mapping) and "key" in values:
                replacements[str(values["key"])] = unique
        chosen = [each for each in statements if not only_the_ledger or _LEDGER in each.text]
        named = {name for each in chosen if isinstance(each.values, Mapping) for name in each.values}
        if unknown := {"id", "shuffle_key", "source_key", "destination_key"} - named:
            raise RuntimeError(f"no statement has the parameters {unknown}")
        lines += ["\\set a random(1, 1000000000)", "\\set b random(1, 1000000000)"]
        lines += ["\\set lot random(-2147483648, 2147483647)"]
        texts = [_written(each, replacements) for each in chosen]
        lines += texts
    return "\n".join(lines) + "\n"


def plots(side: str) -> str:
    """Return the SQL of the name of a wallet that no other client of pgbench uses."""
    return f"('plot-' || :client_id::int || '-' || :pair::int || '-{side}')"


class Raw(NamedTuple):
    """What pgbench measured."""

    rate: float
    milliseconds: float


def measure(
    machine: Machine,
    statements: Sequence[Statement],
    *,
    here: str,
    there: str,
    only_the_ledger: bool,
    clients: int,
    limit: Sequence[str],
    and_back: bool = True,
) -> Raw:
    """Run the statements; `limit` says how long: `-T 4` seconds or `-t 5` times."""
    script = _script(statements, here=here, there=there, only_the_ledger=only_the_ledger, and_back=and_back)
    with tempfile.NamedTemporaryFile("w", suffix=".sql") as file:
        file.write(script)
        file.flush()
        Path(file.name).chmod(0o644)
        shown = machine.pgbench(
            "-M", "prepared", "-c", str(clients), "-j", str(min(2, clients)), *limit, "-f", file.name
        )
    rate = float(re.search(r"tps = ([0-9.]+)", shown)[1])  # type: ignore[index]
    if (failed := re.search(r"number of failed transactions: (\d+)", shown)) and failed[1] != "0":
        raise RuntimeError(shown)
    rate *= 2 if and_back else 1
    return Raw(rate, 1000 * clients / rate)
