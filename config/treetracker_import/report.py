"""The report of an import: every finding, row by row, and what is done about it."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any, Final

from config.treetracker_import import decisions, findings
from config.treetracker_import.kinds import ACTIONS, KINDS, REFUSE
from config.treetracker_import.source import Source
from config.treetracker_import.staging import rows

_AT_ONCE: Final = 10_000
# How many rows of a kind the terminal shows; the file has all.
_SHOWN: Final = 5


def summary(source: Source, copied: dict[str, int]) -> Iterator[str]:
    """Yield what was read, without the findings."""
    yield f"{source.name}, schema {source.schema}, {source.edition}, as of {source.snapshot_at:%Y-%m-%d %H:%M:%S %Z}"
    yield "read: " + ", ".join(f"{number:,} {name}" for name, number in copied.items())
    ((issued, texts, claims),) = rows(
        "SELECT (SELECT count(*) FROM import_token AS token WHERE is_new AND NOT EXISTS ("
        "           SELECT FROM import_chain AS chain WHERE chain.token_id = token.id)),"
        "       (SELECT count(*) FROM import_transfer"
        "         WHERE jsonb_typeof(parameters #> '{bundle,bundleSize}') = 'string'),"
        "       (SELECT count(*) FROM import_transfer WHERE claim)"
    )
    ((repeated,),) = rows("SELECT count(*) FROM import_finding WHERE is_repeated")
    if repeated:
        yield f"{repeated:,} findings are those of an earlier import, and settled as then: they are not listed again"
    if issued:
        yield f"{issued:,} tokens never moved: their history is their issue, at the time of their creation"
    if texts:
        yield f"{texts:,} transfers give the size of their bundle as text: it becomes a number"
    if claims:
        yield f"{claims:,} transfers wish a claim: what the tokens say counts"


def lines(kind: str, limit: int | None = None) -> Iterator[str]:
    """Yield a line for each finding of a kind that the last import did not have, in their order; at most `limit`."""
    after, left = 0, limit
    while left is None or left > 0:
        fetch = _AT_ONCE if left is None else min(_AT_ONCE, left)
        page = rows(
            "SELECT place, object, id, detail, action FROM import_finding"
            " WHERE kind = %(kind)s AND place > %(after)s AND NOT is_repeated ORDER BY place LIMIT %(fetch)s::bigint",
            {"kind": kind, "after": after, "fetch": fetch},
        )
        yield from (f"{object_} {row_id}: {detail} -> {action}" for _, object_, row_id, detail, action in page)
        if len(page) < fetch:
            return
        after, left = page[-1][0], None if left is None else left - fetch


def found_kinds() -> Iterator[tuple[str, int, str]]:
    """Yield kind, number of findings, and a heading, in the order of the kinds."""
    numbers: dict[str, dict[str, int]] = {}
    for kind, action, _, number in findings.counts():
        numbers.setdefault(kind, {}).setdefault(action, 0)
        numbers[kind][action] += number
    for kind, about in KINDS.items():
        if kind in numbers:
            done = "; ".join(
                f"{number:,} {action}: {ACTIONS[action]}" for action, number in sorted(numbers[kind].items())
            )
            yield kind, sum(numbers[kind].values()), f"{kind}: {about.about} ({done})"


def write(path: Path, source: Source, copied: dict[str, int]) -> int:
    """Write the whole report to a file and return the number of findings."""
    total = 0
    with path.open("w", encoding="utf-8") as file:
        for sentence in summary(source, copied):
            file.write(f"{sentence}\n")
        for kind, number, heading in found_kinds():
            file.write(f"\n{heading}\n")
            for line in lines(kind):
                file.write(f"  {line}\n")
            total += number
    return total


def shown(source: Source, copied: dict[str, int]) -> Iterator[str]:
    """Yield the lines of the report for a terminal: a few rows of each kind."""
    yield from summary(source, copied)
    for kind, number, heading in found_kinds():
        yield heading
        yield from (f"  {line}" for line in lines(kind, _SHOWN))
        if number > _SHOWN:
            yield f"  … and {number - _SHOWN:,} more: --report writes all of them to a file"


def refused() -> list[tuple[str, Any]]:
    """Return kind and id of the findings on which the import waits."""
    return [
        (kind, row_id)
        for kind, row_id in rows(
            "SELECT kind, id FROM import_finding WHERE action = %(refuse)s ORDER BY place", {"refuse": REFUSE}
        )
    ]


def template() -> str:
    """Return a file of decisions for all findings on which the import waits."""
    return decisions.template(refused())
