"""
Comparing the seals with the rows, and with stored checkpoints.

Every seal is compared with the one before: heights without a gap, hashes, positions. Which signatures are checked and
which blocks are hashed again from their rows is the caller's choice: all of them, or a sample. The newest signature
covers all seals before it, since each hash is part of the next.
"""

import random
import time
from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import Final, NamedTuple

from django.db import connection

from config.seals import blocks, chain, merkle
from transfers import partitions
from transfers.seal_models import POSITIONS, Seal
from wallets.audit import FINDINGS_PER_CHECK, Finding

CHAIN: Final = "each seal follows the one before"
SIGNATURES: Final = "each seal is signed by a key of this installation"
ROWS: Final = "sealed rows are as they were sealed"
KEPT: Final = "the chain has the checkpoints that were kept"
# Why blocks were not compared.
ELSEWHERE: Final = "movements of them are in detached partitions that are not in this database"

_REQUIRED: Final = tuple(field.attname for field in Seal._meta.local_concrete_fields)
# A sample has this many blocks in turn, and as many at random. Those in turn follow from the time, so that no state is
# kept and each is read again after some days.
SAMPLED_IN_TURN: Final = 8
SAMPLED_AT_RANDOM: Final = 8
_TURN_SECONDS: Final = 600
_CHUNK: Final = 500


class Verified(NamedTuple):
    """
    The findings, the newest seal, and the numbers of seals and of signed seals.

    `hashed` has, for each block whose rows were compared, the positions after which and up to which it has rows;
    `leaves` is the number of leaves of these blocks. `elsewhere` has the heights of blocks that could not be compared,
    because a partition of movements is stored elsewhere.
    """

    findings: list[Finding]
    head: Seal | None
    seals: int
    signed: int
    hashed: list[tuple[Mapping[str, int], Mapping[str, int]]]
    leaves: int
    elsewhere: list[int]


def sample(newest: int, *, first: int = 1) -> frozenset[int]:
    """
    Return the heights of the blocks that an audit hashes again, from `first` on: some in turn, some at random, and the
    newest.
    """
    heights = range(first, newest + 1)
    if len(heights) <= SAMPLED_IN_TURN + SAMPLED_AT_RANDOM:
        return frozenset(heights)
    begin = int(time.time()) // _TURN_SECONDS * SAMPLED_IN_TURN
    in_turn = {heights[(begin + each) % len(heights)] for each in range(SAMPLED_IN_TURN)}
    return frozenset({newest, *in_turn, *random.sample(heights, SAMPLED_AT_RANDOM)})


def sampled() -> Verified:
    """Verify the chain and a sample of its blocks, of those above all whose movements are stored elsewhere."""
    heights = sample(newest_height(), first=_first_here())
    return verify(hashes_block=heights.__contains__, keeps_positions=True)


def whole(*, kept: Mapping[int, bytes] | None = None, say: Callable[[int], None] = lambda height: None) -> Verified:
    """Verify every seal and all sealed rows. `kept` are hashes of seals by height; `say` is called for each seal."""
    return verify(hashes_block=lambda height: True, kept=kept, say=say)


def spans(heights: Iterable[int]) -> str:
    """Return ascending heights as words: "1 to 7, 9"."""
    found: list[list[int]] = []
    for height in heights:
        if found and found[-1][1] == height - 1:
            found[-1][1] = height
        else:
            found.append([height, height])
    return ", ".join(f"{first:,} to {last:,}" if first < last else f"{first:,}" for first, last in found)


def _first_here() -> int:
    end = max((each.end for each in partitions.detached() if not each.is_here), default=0)
    if not end:
        return 1
    reaching = Seal.objects.filter(movements__gte=end - 1).order_by("movements", "height")
    return (reaching.values_list("height", flat=True).first() or newest_height()) + 1


def not_compared() -> int:
    """Return how many blocks cannot be compared, because a partition of movements is stored elsewhere."""
    missing = [each for each in partitions.detached() if not each.is_here]
    if not missing:
        return 0
    with connection.cursor() as cursor:
        cursor.execute(_NOT_COMPARED, [[each.first for each in missing], [each.end for each in missing]])
        return int(cursor.fetchone()[0])


# As `blocks.is_elsewhere`.
_NOT_COMPARED: Final = """
SELECT count(*)
  FROM (SELECT coalesce(lag(movements) OVER (ORDER BY height), 0) AS after, movements AS upto
          FROM transfers_seal) AS block
 WHERE block.after < block.upto
   AND EXISTS (SELECT FROM unnest(%s::bigint[], %s::bigint[]) AS part (first, below)
                WHERE part.first <= block.upto AND block.after + 1 < part.below)
"""


def newest_height() -> int:
    """Return the height of the newest seal, 0 if there is none."""
    return Seal.objects.order_by("-height").values_list("height", flat=True).first() or 0


def verify(
    *,
    hashes_block: Callable[[int], bool],
    kept: Mapping[int, bytes] | None = None,
    say: Callable[[int], None] = lambda height: None,
    keeps_positions: bool = False,
) -> Verified:
    """Verify all seals, and the rows and the signatures of those that `hashes_block` selects and of the newest."""
    findings: list[Finding] = []
    before: Seal | None = None
    missing = dict(kept or {})
    seals = leaves = signed = 0
    hashed: list[tuple[Mapping[str, int], Mapping[str, int]]] = []
    detached, elsewhere = partitions.detached(), list[int]()
    for seal in _seals():
        seals += 1
        if any(getattr(seal, name) is None for name in _REQUIRED):
            findings.append(Finding(CHAIN, f"seal {seal.height} lacks what it must have"))
            continue
        findings += _links(seal, before)
        if missing.pop(seal.height, bytes(seal.hash)) != bytes(seal.hash):
            findings.append(Finding(KEPT, f"seal {seal.height} is another than the one that was kept"))
        signed += bool(seal.key_id)
        if hashes_block(seal.height):
            findings += _signature(seal)
            if blocks.is_elsewhere(seal, before, detached):
                elsewhere.append(seal.height)
            else:
                findings += _rows(seal, before)
                if keeps_positions:
                    hashed.append((blocks.positions(before), blocks.positions(seal)))
                leaves += seal.leaves
        say(seal.height)
        before = seal
    if before is not None:
        findings += _signature(before)
        findings += _unsigned(before, signed)
    findings += [Finding(KEPT, f"seal {height} was kept and is not here") for height in sorted(missing)]
    return Verified(_each_once(findings), before, seals, signed, hashed, leaves, elsewhere)


def _seals() -> Iterator[Seal]:
    """Yield all seals in order, some hundred at once."""
    after = 0
    while found := list(Seal.objects.filter(height__gt=after).order_by("height")[:_CHUNK]):
        yield from found
        after = found[-1].height


def _links(seal: Seal, before: Seal | None) -> Iterator[Finding]:
    height = before.height + 1 if before else 1
    if seal.height != height:
        yield Finding(CHAIN, f"seal {height} is missing before {seal.height}")
    elif bytes(seal.previous) != (bytes(before.hash) if before else chain.FIRST_PREVIOUS):
        yield Finding(CHAIN, f"seal {seal.height} does not name the hash of the one before")
    if _hash(seal) != bytes(seal.hash):
        yield Finding(CHAIN, f"seal {seal.height} was changed: its hash is not that of its content")
    if any(getattr(seal, name) < position for name, position in blocks.positions(before).items()):
        yield Finding(CHAIN, f"seal {seal.height} ends before the one before")
    if before is not None and before.key_id and not seal.key_id:
        yield Finding(SIGNATURES, f"seal {seal.height} is not signed, and the one before is")


def _hash(seal: Seal) -> bytes:
    try:
        return blocks.header(seal).hash()
    except (OverflowError, ValueError):
        # A field was changed to a value that no header can have.
        return b""


def _signature(seal: Seal) -> Iterator[Finding]:
    if not seal.key_id:
        return
    keys = chain.keys()
    if seal.key_id not in keys.public:
        yield Finding(
            SIGNATURES,
            f"seal {seal.height} names key {seal.key_id}, which neither COPPICE_SEAL_KEY nor COPPICE_SEAL_OLD_KEYS has",
        )
    elif _hash(seal) != bytes(seal.hash) or not keys.is_signed(blocks.header(seal), seal.key_id, bytes(seal.signature)):
        yield Finding(SIGNATURES, f"seal {seal.height} has a wrong signature")


def _unsigned(head: Seal, signed: int) -> Iterator[Finding]:
    if not signed and chain.keys().current_id:
        yield Finding(
            SIGNATURES,
            f"none of {head.height} seals is signed, although COPPICE_SEAL_KEY is set: see manage.py verify"
            " --begin-signing",
        )


def _rows(seal: Seal, before: Seal | None) -> Iterator[Finding]:
    hashes = blocks.hashes_of(seal, before)
    if len(hashes) == seal.leaves and merkle.root(hashes) == bytes(seal.root):
        return
    after = blocks.positions(before)
    spans = ", ".join(
        f"{name.replace('_', ' ')} {after[name] + 1} to {getattr(seal, name)}"
        for name in POSITIONS
        if getattr(seal, name) > after[name]
    )
    yield Finding(
        ROWS, f"block {seal.height} has {len(hashes)} rows, {seal.leaves} were sealed, and they differ: {spans}"
    )


def _each_once(findings: Iterable[Finding]) -> list[Finding]:
    """Return the findings without duplicates, of each rule at most as many as an audit reports."""
    found: dict[str, list[Finding]] = {}
    for each in dict.fromkeys(findings):
        found.setdefault(each.check, []).append(each)
    return [each for listed in found.values() for each in listed[:FINDINGS_PER_CHECK]]
