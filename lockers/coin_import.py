"""
The files of an import: their size before unpacking, their coins, and the claims to these.

A request reads small files; a worker reads the others (`lockers.worker.import_`), so that no upload occupies a thread
of the web server. The unpacked size of an import is bounded by the limit of one file, whatever its archives declare.
"""

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any, Final
from uuid import UUID

from django.views.decorators.debug import sensitive_variables

from lockers import competing_claims, errors, vault
from lockers.competing_claims import Arrivals
from lockers.raida import archives, files
from lockers.raida.coins import SERIAL_NUMBERS
from lockers.raida.coins import Coin as WireCoin
from lockers.raida.errors import CoinFileError
from lockers.states import TaskKind
from lockers.worker.task_store import BATCH_COINS

MAXIMUM_COINS: Final = 20_000
# Unpacked, all files together.
MAXIMUM_BYTES: Final = archives.MAXIMUM_SIZE
# Entries of all archives together, folders included.
_MAXIMUM_ENTRIES: Final = 2 * archives.MAXIMUM_MEMBERS
# The most that a request reads itself: 2,500 coins of a .bin, in a quarter of a second.
_SMALL_BYTES: Final = 1024 * 1024
_SMALL_ENTRIES: Final = 200


@dataclass(slots=True)
class FileOutcome:
    """The outcome of one file of an import, or of one member of an archive."""

    name: str
    accepted: int = 0
    # Coins with another open claim: imported after the servers have decided that one, if they are authentic.
    waiting: int = 0
    reason: str = ""
    # A remark for the owner although the file was read.
    note: str = ""
    # Coins that were left out, each as (coin, reason).
    refused: list[tuple[WireCoin, str]] = field(default_factory=list)


_TWICE: Final = "This coin came in another file of the same import"
_NO_SUCH_NUMBER: Final = f"No server keeps a coin with this serial number: they go from 0 to {SERIAL_NUMBERS - 1:,}"
_NO_DENOMINATIONS: Final = (
    "The coins of this file name no denomination and were read as coins of 1. Coins of the previous network look the"
    " same: if the servers refuse them, they must be upgraded first, with the program that wrote the file."
)
HELD: Final = "This coin is held in this ledger already; it cannot be imported a second time"
BUSY: Final = "Another task of this wallet is importing or taking this coin, or has left it in limbo"


@dataclass(slots=True)
class Found:
    """The contents of the files of an import: each coin's record with the outcome of its file."""

    outcomes: list[FileOutcome] = field(default_factory=list)
    records: dict[WireCoin, tuple[files.CoinRecord, FileOutcome]] = field(default_factory=dict, repr=False)

    @property
    def _plain(self) -> list[files.CoinRecord]:
        return [record for record, _ in self.records.values() if record.pans is None]

    @property
    def _proposed(self) -> list[files.CoinRecord]:
        return [record for record, _ in self.records.values() if record.pans is not None]

    @property
    def first_proposed(self) -> int:
        """The first batch of coins whose file has two numbers; these batches come after the others."""
        return -(-len(self._plain) // BATCH_COINS)

    @property
    def two_secrets(self) -> list[int]:
        """The batches of coins whose file has two numbers."""
        return list(range(self.first_proposed, self.first_proposed - (-len(self._proposed) // BATCH_COINS)))


@sensitive_variables("uploads")
def is_small(uploads: Sequence[tuple[str, bytes]]) -> bool:
    """
    Return whether a request may read these files, judged by the sizes that archives declare; nothing is unpacked.

    :raises InvalidLockerRequest: they unpack to more than one import takes
    """
    entries = sum(archives.count_entries(content) for _, content in uploads)
    if entries > _MAXIMUM_ENTRIES:
        raise errors.InvalidLockerRequest(
            f"The archives of an import have at most {_MAXIMUM_ENTRIES} files and folders together"
        )
    size = sum(_declared_size(content) for _, content in uploads)
    if size > MAXIMUM_BYTES and len(uploads) > 1:
        raise errors.InvalidLockerRequest(
            f"The files of an import unfold to at most {MAXIMUM_BYTES >> 20} MiB together"
        )
    # A single file that is too large is reported in its outcome.
    return size > MAXIMUM_BYTES or (size <= _SMALL_BYTES and entries <= _SMALL_ENTRIES)


def _declared_size(content: bytes) -> int:
    """Return the unpacked size that a file declares; 0 if reading it fails before anything is unpacked."""
    if not archives.is_archive(content):
        return len(content)
    try:
        return archives.declared_size(content)
    except CoinFileError:
        return 0


@sensitive_variables("uploads")
def read(uploads: Sequence[tuple[str, bytes]]) -> Found:
    """
    Read files. A file that cannot be read has the reason in its outcome.

    :raises InvalidLockerRequest: they hold more coins than one import takes
    """
    found = Found()
    for file_name, content in uploads:
        for outcome, coins in _read(file_name, content):
            found.outcomes.append(outcome)
            for record in coins:
                if record.coin.serial_number >= SERIAL_NUMBERS:
                    outcome.refused.append((record.coin, _NO_SUCH_NUMBER))
                elif record.coin in found.records:
                    outcome.refused.append((record.coin, _TWICE))
                else:
                    found.records[record.coin] = (record, outcome)
        # Checked after each file, so that the records of the next ones are never built.
        if len(found.records) > MAXIMUM_COINS:
            raise errors.InvalidLockerRequest(
                f"{len(found.records)} coins are too many for one import; at most {MAXIMUM_COINS} at once"
            )
    return found


def save(found: Found, *, task_id: UUID, wallet_id: UUID) -> Arrivals:
    """Insert claims to the coins for a task, and count them in the outcomes of their files."""
    saved = competing_claims.insert_incoming(
        task_id=task_id,
        wallet_id=wallet_id,
        origin=TaskKind.IMPORT,
        coins=[(record.coin, record.ans, vault.fresh_numbers()) for record in found._plain],
    )
    saved.add(
        competing_claims.insert_incoming(
            task_id=task_id,
            wallet_id=wallet_id,
            origin=TaskKind.IMPORT,
            coins=[(record.coin, record.ans, record.pans or ()) for record in found._proposed],
            first_batch=found.first_proposed,
            waiting_batch=competing_claims.WAITING_WITH_TWO_SECRETS,
        )
    )
    for coin, (_, outcome) in found.records.items():
        if coin in saved.saved:
            outcome.accepted += 1
        elif coin in saved.waiting:
            outcome.waiting += 1
        else:
            outcome.refused.append((coin, BUSY if coin in saved.busy else HELD))
    return saved


def _read(name: str, content: bytes) -> list[tuple[FileOutcome, Sequence[files.CoinRecord]]]:
    try:
        if archives.is_archive(content):
            return [_read_member(f"{name}/{member.name}", member.content) for member in archives.unpack(content)] or [
                (FileOutcome(name, reason="The archive is empty"), ())
            ]
    except CoinFileError as error:
        return [(FileOutcome(name, reason=_sentence(error)), ())]
    return [_read_one(name, content)]


def _read_member(name: str, content: bytes) -> tuple[FileOutcome, Sequence[files.CoinRecord]]:
    # Its unpacked size is not in the sum that was checked.
    if archives.is_archive(content):
        return FileOutcome(name, reason="An archive in an archive is not read: unpack it first"), ()
    return _read_one(name, content)


def _read_one(name: str, content: bytes) -> tuple[FileOutcome, Sequence[files.CoinRecord]]:
    try:
        read = files.read_file(content)
        return FileOutcome(name, note="" if read.names_denominations else _NO_DENOMINATIONS), read.coins
    except CoinFileError as error:
        return FileOutcome(name, reason=_sentence(error)), ()


def _sentence(error: CoinFileError) -> str:
    text = str(error) or type(error).__name__
    return text[0].upper() + text[1:]


def why_nothing(found: Found) -> str:
    """Return a sentence with up to three reasons why no coin was imported."""
    reasons = {outcome.reason for outcome in found.outcomes if outcome.reason} | {
        why for outcome in found.outcomes for _, why in outcome.refused
    }
    return f"No coin was imported. {'. '.join(sorted(reasons)[:3])}."


def refusal(found: Found, *, is_busy: bool = False) -> errors.NothingToImport:
    """Return the error for an import without an accepted coin; `is_busy` if repeating it later may succeed."""
    kind = errors.ImportUnderWay if is_busy else errors.NothingToImport
    return kind(why_nothing(found), files=[outcome_as_json(outcome) for outcome in found.outcomes])


# How many refused coins are listed one by one; the others are counted.
_LISTED_REFUSALS: Final = 100


def outcome_as_json(outcome: FileOutcome) -> dict[str, Any]:
    """Return the outcome as it is stored and shown: names, counts and reasons, never a secret."""
    data: dict[str, Any] = {"name": outcome.name[:255], "accepted": outcome.accepted, "refused": len(outcome.refused)}
    if outcome.waiting:
        data["waiting"] = outcome.waiting
    if outcome.reason:
        data["reason"] = outcome.reason
    if outcome.note:
        data["note"] = outcome.note
    if outcome.refused:
        data["refusals"] = [
            {"sn": coin.serial_number, "denomination": coin.denomination, "reason": why}
            for coin, why in outcome.refused[:_LISTED_REFUSALS]
        ]
    return data
