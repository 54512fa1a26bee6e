"""
Reconciliation: compare the coins in the database with what the servers hold.

The commands change nothing on the servers. Servers that refuse a coin which they accept according to its row are
recorded, so that a fix or a repair of the locker follows. Coins of a running task, and coins in limbo, are left out:
their state is unknown.
"""

from collections.abc import Iterator, Sequence
from typing import Final
from uuid import UUID

from lockers.models import Coin
from lockers.raida.statuses import QUORUM, RAIDA_COUNT
from lockers.states import SPENDABLE, CoinState
from lockers.worker import broadcast, health_check
from lockers.worker.messages import Reply
from wallets.audit import Finding

_PAGE: Final = 1000


def server_findings() -> Iterator[Finding]:
    """
    Ask the servers about every coin in a wallet or in a locker filled here; yield a finding for each contradiction.

    A missing answer contradicts nothing. That a locker's coin is gone is no finding: a holder of the code may have
    taken it. That 13 servers still hold the number from before the put is one.
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
    if not rows:
        return
    told = health_check.ask(rows, wallet_id=rows[0].wallet_id, question=broadcast.ask_at_once)
    for row, each in zip(rows, told, strict=True):
        count = sum(reply is Reply.FAIL for reply in each.values())
        if count > RAIDA_COUNT - QUORUM and _is_unchanged(row):
            yield Finding("coin in a wallet is accepted by the servers", f"{row} is refused by {count}")
    health_check.record(rows, told)


def _locked(rows: Sequence[Coin]) -> Iterator[Finding]:
    if not rows:
        return
    told = health_check.ask_locked(rows, wallet_id=rows[0].wallet_id, question=broadcast.ask_at_once)
    for row, each in zip(rows, told, strict=True):
        count = sum(reply is Reply.HAS_OLD for reply in each.values())
        if count >= QUORUM and _is_unchanged(row):
            yield Finding("coin in a locker was given to the servers", f"{row} never left, say {count}")
    health_check.record_locked(rows, told)


def _is_unchanged(row: Coin) -> bool:
    """Return whether the coin has not been moved since it was read."""
    return Coin.objects.filter(pk=row.pk, state=row.state, changed_at=row.changed_at, task=None).exists()
