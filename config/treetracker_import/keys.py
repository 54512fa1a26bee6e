"""API keys of the source: staged and written as digests, because the source has them in plain text."""

from typing import Any, Final

from django.db import connection

from config.treetracker_import import decisions
from config.treetracker_import.source import Source
from config.treetracker_import.staging import run
from wallets import queries
from wallets.models import ApiKey

_LONGEST_NAME: Final = int(ApiKey._meta.get_field("name").max_length or 0)
_LONGEST_KEY: Final = 256


def fill(source: Source) -> int:
    """Stage the API keys in the order in which the service finds them, and return their number."""
    place = 0
    with (
        connection.cursor() as cursor,
        cursor.copy("COPY import_key (id, digest, prefix, name, is_refused, batch, place, fate) FROM STDIN") as copy,
    ):
        for place, (key_id, key, name, access, batch) in enumerate(source.api_keys(), start=1):
            is_usable = key and key.isascii() and key.isprintable() and " " not in key and len(key) <= _LONGEST_KEY
            # An empty digest stands for a key that no header can carry.
            copy.write_row((
                key_id, queries.digest(key) if is_usable else b"", (key or "")[:6] if is_usable else "",
                (name or "imported")[:_LONGEST_NAME], access is False, bool(batch), place,
                "new" if is_usable else "left_out",
            ))  # fmt: skip
    return place


def look() -> None:
    """Note the API keys that cannot be written, or that Coppice has already."""
    _note("key_unusable", "'empty, too long, or not of visible ASCII characters'", "digest = ''", "leave_out")
    _note(
        "key_repeated", "format('key of %%s', (SELECT first.id FROM import_key AS first"
        " WHERE first.digest = key.digest ORDER BY first.place LIMIT 1))",
        "digest <> '' AND EXISTS (SELECT FROM import_key AS first"
        " WHERE first.digest = key.digest AND first.place < key.place)", "leave_out",
    )  # fmt: skip
    recorded = (
        "EXISTS (SELECT FROM treetracker_import_importedrow AS row WHERE row.kind = 'key' AND row.source_id = key.id)"
    )
    # `known` keys are those that an earlier import wrote.
    run(
        f"UPDATE import_key AS key SET fate = 'known' WHERE fate = 'new' AND {recorded}"  # noqa: S608
        "   AND EXISTS (SELECT FROM wallets_apikey AS here WHERE here.id = key.id AND here.digest = key.digest)"
    )
    _note(
        "key_exists", "'registered already'",
        "fate = 'new' AND EXISTS (SELECT FROM wallets_apikey AS here"
        " WHERE here.digest = key.digest OR here.id = key.id)", "here",
    )  # fmt: skip
    _note("key_refused", "'tree_token_api_access is false'", "fate = 'new' AND is_refused", "revoke")
    _note(
        "key_changed", "CASE WHEN is_refused THEN 'refused now' ELSE 'accepted again: stays revoked in Coppice' END",
        "fate = 'known' AND is_refused::text <> (SELECT row.source ->> 'refused'"
        " FROM treetracker_import_importedrow AS row WHERE row.kind = 'key' AND row.source_id = key.id)", "apply",
    )  # fmt: skip


def revoke_changed(now: Any) -> int:
    """Revoke the API keys that the source refuses since the last import."""
    return run(
        "UPDATE wallets_apikey AS here SET revoked_at = %(now)s::timestamptz"
        "  FROM import_key AS key JOIN import_finding AS finding ON finding.id = key.id"
        " WHERE finding.kind = 'key_changed' AND finding.action = 'apply' AND key.is_refused"
        "   AND here.id = key.id AND here.revoked_at IS NULL",
        {"now": now},
    )


def _note(kind: str, detail: str, condition: str, action: str) -> None:
    run(
        f"INSERT INTO import_finding (kind, object, id, detail, action)"  # noqa: S608
        f" SELECT '{kind}', 'key', id, {detail}, '{action}' FROM import_key AS key WHERE {condition} ORDER BY place"
    )
    decisions.apply(kind)
    run(
        "UPDATE import_key AS key SET fate = 'left_out' FROM import_finding AS finding"
        " WHERE finding.id = key.id AND finding.kind = %(kind)s AND finding.action IN ('leave_out', 'here')"
        "   AND finding.kind <> 'key_changed'",
        {"kind": kind},
    )
