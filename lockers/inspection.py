"""
The books against the servers: do they hold what we say that they hold?

Asks only, with commands that change nothing. Coins that a task is at work on, and coins in
limbo, are left out: of those the books say themselves that they do not know.
"""

from collections.abc import Iterator, Sequence
from typing import Final
from uuid import UUID

from django.conf import settings

from lockers import conversation, network, secrecy
from lockers.conversation import Numbers, Piece, Reply
from lockers.models import Coin, Locker
from lockers.raida import codes
from lockers.raida.coins import Coin as WireCoin
from lockers.raida.commands import Command
from lockers.raida.statuses import QUORUM, RAIDA_COUNT
from lockers.states import SPENDABLE, CoinState, Mark
from wallets.audit import Finding

_PAGE: Final = 1000
_UNASKED: Final = Mark.UNASKED * RAIDA_COUNT


def server_findings() -> Iterator[Finding]:
    """
    Ask the servers about every coin that is in a wallet or in a locker of ours; name those that contradict.

    A silent server contradicts nothing. That a locker's coin is gone is no finding, because whoever
    has the code may take it; that 13 servers still hold the number from before the put is one.
    """
    after: UUID | None = None
    while True:
        rows = Coin.objects.filter(task=None, state__in=[*SPENDABLE, CoinState.LOCKED]).order_by("id")
        page = list((rows if after is None else rows.filter(id__gt=after))[:_PAGE])
        if not page:
            return
        yield from _spendable([row for row in page if row.state in SPENDABLE])
        yield from _locked([row for row in page if row.state == CoinState.LOCKED])
        after = page[-1].pk


def _spendable(rows: Sequence[Coin]) -> Iterator[Finding]:
    refusals = _count(Command.DETECT, rows, {}, Reply.FAIL)
    for row, count in zip(rows, refusals, strict=True):
        if count > RAIDA_COUNT - QUORUM and _is_unchanged(row):
            yield Finding("coin in a wallet is accepted by the servers", f"{row} is refused by {count}")


def _locked(rows: Sequence[Coin]) -> Iterator[Finding]:
    lockers = Locker.objects.in_bulk({row.locker_id for row in rows if row.locker_id is not None})
    keys = {locker_id: tuple(codes.locker_keys(secrecy.locker_code(each))) for locker_id, each in lockers.items()}
    olds = _count(Command.FIND, rows, keys, Reply.HAS_OLD)
    for row, count in zip(rows, olds, strict=True):
        if count >= QUORUM and _is_unchanged(row):
            yield Finding("coin in a locker was given to the servers", f"{row} never left, say {count}")


def _count(command: Command, rows: Sequence[Coin], keys: dict[UUID, Numbers], wanted: Reply) -> list[int]:
    """Return for each coin how many servers gave the reply."""
    counts = [0] * len(rows)
    if not rows:
        return counts
    pieces = []
    for row in rows:
        held = secrecy.open_numbers(row.secrets, coin_id=row.pk)
        pieces.append(
            Piece(
                coin_id=row.pk,
                coin=WireCoin(row.denomination, row.serial_number),
                pown=row.pown,
                marks=_UNASKED,
                old=held,
                new=held if row.locker_id is None else keys[row.locker_id],
            )
        )
    # Where a server is known to refuse the coin already, its word is in the books.
    chosen = conversation.choose(pieces, _UNASKED, known_good=command is Command.DETECT)
    results = network.ask(
        network.servers_from_settings(settings.RAIDA_HOSTS),
        conversation.compose(command, pieces, chosen),
        until=network.within(settings.RAIDA_TIMEOUT_SECONDS),
    )
    for raida, told in conversation.replies(command, chosen, results).items():
        for index, reply in zip(chosen[raida], told, strict=True):
            counts[index] += reply is wanted
    return counts


def _is_unchanged(row: Coin) -> bool:
    """Whether the coin is still what it was when it was read; others may have moved it while we asked."""
    return Coin.objects.filter(pk=row.pk, state=row.state, changed_at=row.changed_at, task=None).exists()
