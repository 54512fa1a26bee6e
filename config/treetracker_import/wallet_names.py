"""The names of imported wallets: which can stay, and what a wallet is named whose name cannot."""

from collections.abc import Iterator
from itertools import count
from typing import Final
from uuid import UUID

from config.treetracker_import import decisions
from config.treetracker_import.staging import rows, run
from wallets import names
from wallets.sql_files import load

_AT_ONCE: Final = 5_000
# Room for a number at the end.
_LONGEST_BASE: Final = names.MAXIMUM_LENGTH - 8

_TAKEN: Final = """
SELECT EXISTS (SELECT FROM import_wallet WHERE (name_key = %(key)s OR new_key = %(key)s) AND id <> %(id)s)
    OR EXISTS (SELECT FROM wallets_wallet WHERE name_key = %(key)s AND id <> %(id)s)
"""


class NameTaken(Exception):
    """A decision names a wallet as another wallet is named."""


def set_keys() -> None:
    """Set the key of every staged name."""
    run("""UPDATE import_wallet SET name_key = lower(name COLLATE "C") WHERE name ~ '^[!-~]*$'""")
    for page in _pages("name_key IS NULL"):
        for wallet_id, name in page:
            run(
                "UPDATE import_wallet SET name_key = %(key)s WHERE id = %(id)s",
                {"key": names.name_key(name), "id": wallet_id},
            )
    run("CREATE INDEX ON import_wallet (name_key)")
    run("CREATE INDEX ON import_wallet (new_key)")
    run("ANALYZE import_wallet")


def choose() -> None:
    """Set `new_name` and `new_key` of every new wallet, and note a finding for each name that is not as it was."""
    set_keys()
    for wallet_id, name in _new(
        f"name_key = '' OR length(name) > {names.MAXIMUM_LENGTH} OR length(name_key) > {names.MAXIMUM_KEY_LENGTH}"
    ):
        why = "an empty name" if not names.name_key(name) else f"a name of {len(name)} characters"
        _rename("name_unusable", wallet_id, why, base=name if names.name_key(name) else f"wallet-{wallet_id}")
    for wallet_id, name in _new("length(name_key) >= 32"):
        if names.is_like_id(name):
            _rename("name_like_id", wallet_id, f'"{names.shown(name)}"', base=f"wallet-{name}")
    for wallet_id, name, kept, kept_name in rows(load("config/treetracker_import", "find_names_alike")):
        why = f'"{names.shown(name)}" is the same name as "{names.shown(kept_name)}" of {kept}'
        _rename("name_alike", wallet_id, why, base=name, other=kept)
    for wallet_id, name in _new(f"new_name IS NULL AND name !~ '{names.PLAIN}'"):
        if (refusal := names.refusal(name)) is not None:
            reason = str(refusal).replace(f":{name}", "")
            if _note("name_unusual", wallet_id, f'"{names.shown(name)}": {reason}', "keep", None) == "rename":
                _give(wallet_id, free_name(wallet_id, base=name))
    run("UPDATE import_wallet SET new_name = name, new_key = name_key WHERE is_new AND new_name IS NULL")


def _pages(condition: str) -> Iterator[list[tuple[UUID, str]]]:
    after = UUID(int=0)
    while page := rows(
        f"SELECT id, name FROM import_wallet WHERE id > %(after)s AND ({condition}) ORDER BY id LIMIT {_AT_ONCE}",  # noqa: S608
        {"after": after},
    ):
        yield [(row[0], row[1]) for row in page]
        after = page[-1][0]


def _new(condition: str) -> Iterator[tuple[UUID, str]]:
    for page in _pages(f"is_new AND ({condition})"):
        yield from page


def _rename(kind: str, wallet_id: UUID, why: str, *, base: str, other: UUID | None = None) -> None:
    name = free_name(wallet_id, base=base)
    _give(wallet_id, name)
    _note(kind, wallet_id, f'{why}: "{names.shown(name)}"', "rename", other)


def free_name(wallet_id: UUID, *, base: str) -> str:
    """
    Return the name that a decision gives, or the first free one with a number.

    :raises NameTaken: the name of the decision is another wallet's
    """
    decided = rows("SELECT name FROM import_decision WHERE id = %(id)s AND name IS NOT NULL", {"id": wallet_id})
    if decided:
        if _is_taken(wallet_id, decided[0][0]):
            raise NameTaken(f'The decision on {wallet_id} names it "{decided[0][0]}": another wallet has that name.')
        return str(decided[0][0])
    base = base[:_LONGEST_BASE]
    if not _is_taken(wallet_id, base) and not names.is_like_id(base):
        return base
    return next(name for number in count(2) if not _is_taken(wallet_id, name := f"{base}-{number}"))


def _is_taken(wallet_id: UUID, name: str) -> bool:
    return bool(rows(_TAKEN, {"key": names.name_key(name), "id": wallet_id})[0][0])


def _give(wallet_id: UUID, name: str) -> None:
    run(
        "UPDATE import_wallet SET new_name = %(name)s, new_key = %(key)s WHERE id = %(id)s",
        {"name": name, "key": names.name_key(name), "id": wallet_id},
    )


def _note(kind: str, wallet_id: UUID, detail: str, usual: str, other: UUID | None) -> str:
    action = decisions.decided(kind, wallet_id, usual)
    run(
        "INSERT INTO import_finding (kind, object, id, detail, action, other)"
        " VALUES (%(kind)s, 'wallet', %(id)s, %(detail)s, %(action)s, %(other)s)",
        {"kind": kind, "id": wallet_id, "detail": detail, "action": action, "other": other},
    )
    return action
