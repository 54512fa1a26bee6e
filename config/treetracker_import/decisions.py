"""
Decisions of the operator on findings: a JSON file.

    {"format": 1,
     "decisions": [{"kind": "name_alike", "id": "…", "action": "rename", "name": "bobby-north"},
                   {"kind": "bundle_beyond", "action": "refuse"}]}

A decision with an `id` is for one row, one without for all rows of the kind.
"""

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Final, NamedTuple
from uuid import UUID

from config.treetracker_import.kinds import KINDS, REFUSE
from config.treetracker_import.staging import rows, run
from wallets import names

FORMAT: Final = 1
_FIELDS: Final = {"kind", "id", "action", "name"}


class UnreadableDecisions(Exception):
    """The file of decisions is not what it should be; the message says where."""


class Decision(NamedTuple):
    """What to do about one finding, or with `id` None about all of a kind. `name` is the new name of a wallet."""

    kind: str
    id: UUID | None
    action: str
    name: str | None


def read(path: Path) -> list[Decision]:
    """
    Return the decisions of a file.

    :raises UnreadableDecisions: no such file, no JSON, or a decision that is not possible
    """
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise UnreadableDecisions(f"{path} cannot be read: {error}") from error
    if (
        not isinstance(content, dict)
        or content.get("format") != FORMAT
        or not isinstance(content.get("decisions"), list)
    ):
        raise UnreadableDecisions(f'{path} is not {{"format": {FORMAT}, "decisions": […]}}.')
    return [_one(path, place, entry) for place, entry in enumerate(content["decisions"], start=1)]


def _one(path: Path, place: int, entry: Any) -> Decision:
    where = f"{path}, decision {place}"
    if not isinstance(entry, dict) or not {"kind", "action"} <= entry.keys() <= _FIELDS:
        raise UnreadableDecisions(f"{where}: it has the fields kind and action, and may have id and name.")
    kind, action, name = entry["kind"], entry["action"], entry.get("name")
    if kind not in KINDS:
        raise UnreadableDecisions(f"{where}: there is no kind {kind!r}.")
    possible = sorted({*KINDS[kind].actions, REFUSE})
    if action not in possible:
        raise UnreadableDecisions(f"{where}: for {kind} the action is one of {', '.join(possible)}.")
    row = None
    if "id" in entry:
        row = names.parse_uuid(entry["id"]) if isinstance(entry["id"], str) else None
        if row is None:
            raise UnreadableDecisions(f"{where}: the id is not a UUID.")
    if name is not None:
        if action != "rename" or row is None or not isinstance(name, str):
            raise UnreadableDecisions(f"{where}: a name belongs to the action rename of one wallet.")
        if (refusal := names.refusal(name)) is not None:
            raise UnreadableDecisions(f"{where}: {refusal}")
    return Decision(kind, row, action, name)


def store(decided: Sequence[Decision]) -> None:
    """Store the decisions for `apply`."""
    for decision in decided:
        run(
            "INSERT INTO import_decision (kind, id, action, name) VALUES (%(kind)s, %(id)s, %(action)s, %(name)s)",
            decision._asdict(),
        )


def decided(kind: str, row_id: UUID, usual: str) -> str:
    """Return the action for one finding: that of a decision on the row, on the kind, or the usual one."""
    found = rows(
        "SELECT action FROM import_decision WHERE kind = %(kind)s AND (id = %(id)s OR id IS NULL)"
        " ORDER BY id NULLS LAST LIMIT 1",
        {"kind": kind, "id": row_id},
    )
    return str(found[0][0]) if found else usual


def apply(kind: str) -> None:
    """Replace the usual action of the findings of a kind where a decision names them."""
    run(
        "UPDATE import_finding AS finding SET action = decision.action"
        "  FROM (SELECT DISTINCT ON (id) id, action FROM import_decision WHERE kind = %(kind)s) AS decision"
        " WHERE finding.kind = %(kind)s AND decision.id IS NULL"
        "   AND NOT EXISTS (SELECT FROM import_decision AS own WHERE own.kind = %(kind)s AND own.id = finding.id)",
        {"kind": kind},
    )
    run(
        "UPDATE import_finding AS finding SET action = decision.action FROM import_decision AS decision"
        " WHERE finding.kind = %(kind)s AND decision.kind = %(kind)s AND decision.id = finding.id",
        {"kind": kind},
    )


def template(conflicts: Sequence[tuple[str, UUID]]) -> str:
    """Return a file of decisions for findings (kind, id) on which the import waits, with the usual action."""
    decided = [
        {"kind": kind, "id": str(row), "action": next(a for a in (*KINDS[kind].actions, REFUSE) if a != REFUSE)}
        for kind, row in conflicts
    ]
    return json.dumps({"format": FORMAT, "decisions": decided}, indent=1) + "\n"
