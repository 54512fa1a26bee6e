"""
Comparing the chain of this database with stored checkpoints or with the seals of a backup.

Two chains with the same seal at one height are the same up to there, since each seal names the hash of the one before.
"""

import json
from collections.abc import Mapping
from itertools import takewhile
from pathlib import Path
from typing import Final

from django.db import connection

from transfers.seal_models import Seal

TABLE: Final = "transfers_seal"


class Fork(Exception):
    """Two histories differ; the message says where."""


class UnreadableCheckpoints(Exception):
    """The file has no checkpoints; the message says so."""


def read_checkpoints(path: Path) -> dict[int, bytes]:
    """
    Return the hashes by height of a file with pages of `/public/checkpoints`: one document, or one on each line.

    :raises UnreadableCheckpoints: the file cannot be read, or is something else
    """
    try:
        text = path.read_text(encoding="utf-8")
        try:
            pages = [json.loads(text)]
        except ValueError:
            pages = [json.loads(line) for line in text.splitlines() if line.strip()]
        kept = {int(each["height"]): bytes.fromhex(each["hash"]) for page in pages for each in page["checkpoints"]}
    except OSError as error:
        raise UnreadableCheckpoints(f"{path} cannot be read: {error.strerror}.") from error
    except (KeyError, TypeError, ValueError, AttributeError) as error:
        raise UnreadableCheckpoints(f"{path} has no checkpoints as /public/checkpoints returns them.") from error
    if not kept:
        raise UnreadableCheckpoints(f"{path} has no checkpoint.")
    return kept


def here() -> dict[int, bytes]:
    """Return the hashes of the seals of this database by height, none if it has no such table."""
    with connection.cursor() as cursor:
        if TABLE not in connection.introspection.table_names(cursor):
            return {}
    return {height: bytes(hash_) for height, hash_ in Seal.objects.values_list("height", "hash").iterator()}


def in_dump(text: str) -> dict[int, bytes]:
    """Return the hashes of the seals by height of what `pg_restore` writes of `TABLE`: a COPY, or nothing."""
    lines = iter(text.splitlines())
    head = next((line for line in lines if line.startswith("COPY ")), None)
    if head is None:
        return {}
    columns = head[head.index("(") + 1 : head.index(")")].replace('"', "").split(", ")
    height, hash_ = columns.index("height"), columns.index("hash")
    rows = (line.split("\t") for line in takewhile(lambda line: line != "\\.", lines))
    # A bytea is its hexadecimal digits after a prefix.
    return {int(row[height]): bytes.fromhex(row[hash_].partition("x")[2]) for row in rows}


def refuse_another_history(
    backup: Mapping[int, bytes], *, ours: Mapping[int, bytes], kept: Mapping[int, bytes] | None
) -> None:
    """
    Compare the seals of a backup with those of the database that it replaces, and with checkpoints that were kept.

    :raises Fork: they differ at a height, or have none in common with those that were kept
    """
    if kept is not None and not backup.keys() & kept.keys():
        raise Fork(
            f"The backup has {len(backup):,} seals and none at the heights of the checkpoints that were kept: nothing"
            " shows that its history is theirs."
        )
    if (height := _differs(backup, kept or {})) is not None:
        raise Fork(f"The backup is of another history: its seal {height} is not the checkpoint that was kept.")
    if (height := _differs(backup, ours)) is not None:
        raise Fork(f"The backup is of another history: its seal {height} is not that of this database.")


def last_common(chain: Mapping[int, bytes], other: Mapping[int, bytes]) -> int:
    """Return the greatest height at which both have the same seal, and so all below; 0 if there is none."""
    return max((height for height in chain.keys() & other.keys() if chain[height] == other[height]), default=0)


def _differs(chain: Mapping[int, bytes], other: Mapping[int, bytes]) -> int | None:
    """Return the lowest height at which both have a seal and these differ, None if there is none."""
    return min((height for height in chain.keys() & other.keys() if chain[height] != other[height]), default=None)
