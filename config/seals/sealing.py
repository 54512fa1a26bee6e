"""
Making seals: what is settled and not sealed yet becomes the next blocks of the chain.

It reads what is committed and locks no row that a request writes. An advisory lock admits one process. It continues a
chain only if the last seal is undamaged and signed by a known key: otherwise it would sign a seal that something else
wrote.
"""

import logging
import secrets
import time
from collections.abc import Mapping
from typing import Any, Final

from django.conf import settings
from django.db import connection, transaction

from config.seals import blocks, chain, merkle
from config.seals.settled import settled
from config.seals.tables import SEQUENCES
from transfers.seal_models import POSITIONS, Seal
from transfers.states import OPEN

log = logging.getLogger("coppice.seals")

# The key of the advisory lock of the process that seals.
_LOCK: Final = 20261202
# A block has at most this number of rows of each kind.
ROWS: Final = 512
# A run ends after this; the next one goes on.
_RUN_SECONDS: Final = 60.0
_MARK: Final = """
INSERT INTO transfers_sealmark (id, complete_at) VALUES (1, clock_timestamp())
    ON CONFLICT (id) DO UPDATE SET complete_at = excluded.complete_at
"""
_IS_DUE: Final = """
SELECT coalesce(max(complete_at) < clock_timestamp() - make_interval(mins => %s), true) FROM transfers_sealmark
"""
_OPEN: Final = [state.value for state in OPEN]
_NOTE_OPEN: Final = """
INSERT INTO transfers_latetransfer (number, asked_id)
SELECT number, %(height)s FROM transfers_transfer
 WHERE number > %(after)s AND number <= %(upto)s AND state = ANY (%(open)s)
"""
_NOTE_DECIDED: Final = """
UPDATE transfers_latetransfer SET decided_id = %(height)s
 WHERE number IN (SELECT late.number FROM transfers_latetransfer AS late
                    JOIN transfers_transfer AS transfer ON transfer.number = late.number
                   WHERE late.decided_id IS NULL AND transfer.state <> ALL (%(open)s)
                   ORDER BY late.number LIMIT %(rows)s)
"""


class ChainRefused(Exception):
    """The chain must not be continued; the message says why, and what to do."""


def seal(*, is_due: bool | None = None) -> int:
    """
    Seal what is settled, and return the number of new blocks.

    A block that is not full is made if `is_due`, by default every `SEAL_EVERY_MINUTES`.

    :raises ChainRefused: the last seal is damaged, or not signed as this process would expect
    """
    made = 0
    deadline = time.monotonic() + _RUN_SECONDS
    while time.monotonic() < deadline:
        outcome = _seal_next(is_due=is_due)
        made += outcome in {"made", "made the last"}
        if outcome != "made":
            break
    return made


def begin_signing() -> None:
    """
    Continue an unsigned chain with a signed seal. The caller has verified the whole chain.

    :raises ChainRefused: no key is configured, the chain is signed, or its last seal is damaged
    """
    with transaction.atomic():
        if not chain.keys().current_id:
            raise ChainRefused("COPPICE_SEAL_KEY is not set.")
        head = _locked_head()
        if head is None or head.key_id:
            raise ChainRefused("The chain is empty or signed already.")
        _refuse_damaged(head)
        _insert(head, blocks.positions(head))


def _locked_head() -> Seal | None:
    with connection.cursor() as cursor:
        cursor.execute("SELECT pg_advisory_xact_lock(%s)", [_LOCK])
    return Seal.objects.order_by("-height").first()


def _seal_next(*, is_due: bool | None) -> str:
    """Make one block. Returns "made", "made the last", or "nothing"."""
    with transaction.atomic(), connection.cursor() as cursor:
        cursor.execute("SELECT pg_try_advisory_xact_lock(%s)", [_LOCK])
        if not cursor.fetchone()[0]:
            return "nothing"
        if is_due is None:
            cursor.execute(_IS_DUE, [settings.SEAL_EVERY_MINUTES])
            (is_due,) = cursor.fetchone()
        head = Seal.objects.order_by("-height").first()
        _refuse(head)
        after = blocks.positions(head)
        upto, is_full, is_all = _ends(cursor, after)
        bounds: dict[str, Any] = {"height": head.height + 1 if head else 1, "open": _OPEN, "rows": ROWS}
        if not (is_full or is_due):
            return "nothing"
        cursor.execute(_NOTE_DECIDED, bounds)
        is_full = is_full or cursor.rowcount == ROWS
        cursor.execute(_NOTE_OPEN, bounds | {"after": after["transfers"], "upto": upto["transfers"]})
        made = _insert(head, upto, skips_empty=True)
        if is_all and not is_full:
            cursor.execute(_MARK)
            return "made the last" if made else "nothing"
        return "made" if is_full else "made the last" if made else "nothing"


def _refuse(head: Seal | None) -> None:
    """:raises ChainRefused: this process must not continue the chain"""
    if head is None:
        return
    _refuse_damaged(head)
    keys = chain.keys()
    if not head.key_id and keys.current_id:
        raise ChainRefused(
            "The chain is not signed, and COPPICE_SEAL_KEY is set: `manage.py verify --begin-signing` verifies all of"
            " it and signs from then on."
        )
    if head.key_id and not keys.current_id:
        raise ChainRefused("The chain is signed, and COPPICE_SEAL_KEY is not set.")
    if head.key_id and not keys.is_signed(blocks.header(head), head.key_id, bytes(head.signature)):
        raise ChainRefused(
            f"Seal {head.height} is not signed by a key of this installation: neither COPPICE_SEAL_KEY nor"
            " COPPICE_SEAL_OLD_KEYS has it."
        )


def _refuse_damaged(head: Seal) -> None:
    if blocks.header(head).hash() != bytes(head.hash):
        raise ChainRefused(f"Seal {head.height} was changed: its hash is not that of its content.")


def _ends(cursor: Any, after: Mapping[str, int]) -> tuple[dict[str, int], bool, bool]:
    """Return where the next block ends, whether it is full, and whether all sequences of rows were settled."""
    final = settled(SEQUENCES)
    upto, is_full = dict(after), False
    for each in SEQUENCES:
        # A restored sequence may be behind the rows.
        last = final.get(each.position, 0)
        if last <= after[each.position]:
            continue
        cursor.execute(
            f"SELECT {each.key} FROM {each.source} WHERE {each.key} > %s AND {each.key} <= %s"  # noqa: S608 - constants
            f" ORDER BY {each.key} OFFSET %s LIMIT 1",
            [after[each.position], last, ROWS - 1],
        )
        row = cursor.fetchone()
        upto[each.position] = last if row is None else row[0]
        is_full = is_full or row is not None
    return upto, is_full, len(final) == len(SEQUENCES)


def _insert(head: Seal | None, upto: Mapping[str, int], *, skips_empty: bool = False) -> bool:
    """Write the next seal of the chain, and return whether there is one: none without rows, if it `skips_empty`."""
    height = head.height + 1 if head else 1
    secret = secrets.token_bytes(32)
    hashes = blocks.hashes(secret, blocks.rows(height=height, after=blocks.positions(head), upto=upto))
    if skips_empty and len(hashes) == 1:
        return False
    with connection.cursor() as cursor:
        cursor.execute("SELECT clock_timestamp()")
        (now,) = cursor.fetchone()
    previous = bytes(head.hash) if head else chain.FIRST_PREVIOUS
    header = chain.Header(chain.FORMAT, height, previous, merkle.root(hashes), len(hashes), now)
    key_id, signature = chain.keys().sign(header)
    Seal.objects.create(
        **header._asdict(), hash=header.hash(), key_id=key_id, signature=signature, secret=secret,
        **{name: upto[name] for name in POSITIONS},
    )  # fmt: skip
    # A log that is kept elsewhere is a record of the chain that the database cannot change.
    log.info("seal %d, %d leaves, hash %s", height, len(hashes), header.hash().hex())
    return True
