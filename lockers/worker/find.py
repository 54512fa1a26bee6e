"""
Asking what became of coins in limbo, and finishing what was begun with them.
"""

from collections.abc import Sequence
from datetime import timedelta
from uuid import UUID

from django.conf import settings
from django.db import transaction
from django.db.models.functions import Now

from lockers import (
    coin_breaks,
    coin_secrets,
)
from lockers.models import Coin
from lockers.raida.authenticity import is_locker_key
from lockers.raida.commands import Command
from lockers.raida.statuses import QUORUM, RAIDA_COUNT
from lockers.states import Mark, Step
from lockers.worker import (
    break_coin,
    broadcast,
    incoming,
    messages,
    put,
    task_store,
)
from lockers.worker.broadcast import ASKED, FOUND, MOVED_AGAIN, Work
from lockers.worker.messages import CoinWork
from lockers.worker.task_store import Claim


def run(work: Work) -> None:
    """
    Ask about coins in limbo, and finish what was begun with them.

    Their batches hold either coins of one locker that a put could not settle, or coins that came in.
    """
    everything = task_store.batches(task_id=work.task.id)
    numbers = [batch for batch in everything if batch >= 0]
    task_store.advance(held=work.held, step=Step.FINDING, progress=5)
    for position, batch in enumerate(numbers):
        pieces = task_store.pieces(task_id=work.task.id, batch=batch, keys=None, releasing=False)
        chosen = messages.choose(pieces, Mark.SENT + Mark.OLD)
        table = FOUND if is_quiet(task_id=work.task.id, batch=batch) else ASKED
        work.exchange(
            Command.FIND, batch, pieces, chosen, table, progress=broadcast.share(5, 60, position, len(numbers))
        )
    puts = [batch for batch in numbers if batch in work.task.plan.get("puts", [])]
    put.bring_back(work, puts)
    for batch in numbers:
        if batch in puts:
            _release(work, batch)
        else:
            _finish_arrival(work, batch)
    for batch in everything:
        if batch <= coin_breaks.FIRST_BREAK:
            if not break_coin.family(held=work.held, batch=batch).broken.releasing:
                break_coin.look_again(work, batch, is_quiet=is_quiet(task_id=work.task.id, batch=batch))
            _release(work, batch)
    work.conclude()


def _release(work: Work, batch: int) -> None:
    """
    Give coins fresh numbers that 13 servers still hold after a silence, before anybody may spend them.

    The request that was never answered may still be under way. Once a coin's numbers are others it can
    do nothing any more; as long as fewer than 13 servers have taken those, the coin stays in limbo.
    """
    kept = [
        piece.coin_id
        for piece in _returning(work, batch)
        if put.cannot_be_stored(piece.marks) and piece.marks.count(Mark.KEPT) >= QUORUM
    ]
    if kept:
        begin_release(held=work.held, coin_ids=kept)
    pieces = task_store.pieces(task_id=work.task.id, batch=batch, keys=None, releasing=True)
    if not pieces:
        return
    task_store.advance(held=work.held, step=Step.RELEASING, progress=95)
    work.exchange(Command.FIND, batch, pieces, messages.choose(pieces, Mark.SENT), ASKED)
    undone = messages.choose(pieces, Mark.UNASKED + Mark.OLD)
    work.exchange(Command.POWN, batch, pieces, undone, MOVED_AGAIN, sent=True, early=broadcast.LINGER_MOVING)
    incoming.learn(work, batch, pieces)


def _returning(work: Work, batch: int) -> list[CoinWork]:
    """The coins of a batch that are not being released: of a break only the one."""
    if batch <= coin_breaks.FIRST_BREAK:
        broken = break_coin.family(held=work.held, batch=batch).broken
        return [] if broken.releasing else [broken]
    return task_store.pieces(task_id=work.task.id, batch=batch, keys=None, releasing=False)


def _finish_arrival(work: Work, batch: int) -> None:
    """Carry out what was asked for when the coins came in, where a server has said that it was not done."""
    by_key: dict[bytes | None, list[CoinWork]] = {}
    for piece in work.pieces(batch):
        # Out of a locker only by a remove, whose request has that locker's key.
        by_key.setdefault(piece.old[0] if is_locker_key(piece.old[0]) else None, []).append(piece)
    for key, pieces in by_key.items():
        command = Command.POWN if key is None else Command.REMOVE
        undone = messages.choose(pieces, Mark.KEPT)
        work.exchange(command, batch, pieces, undone, MOVED_AGAIN, sent=True)
        if command is Command.REMOVE:
            incoming.pown_forgotten(work, batch, pieces)
        unsure = messages.choose(pieces, Mark.SENT + Mark.ERROR)
        work.exchange(Command.FIND, batch, pieces, unsure, ASKED)


def is_quiet(*, task_id: UUID, batch: int) -> bool:
    """
    Whether so much time has passed since the coins went to limbo that nothing sent before can still arrive.

    Servers work through their requests in order; two deadlines are ample for one that was slow.
    """
    quiet = timedelta(seconds=2 * settings.RAIDA_TIMEOUT_SECONDS)
    return not Coin.objects.filter(task_id=task_id, batch=batch, changed_at__gt=Now() - quiet).exists()


def begin_release(*, held: Claim, coin_ids: Sequence[UUID]) -> None:
    """
    Commit that coins shall get fresh numbers before they are let go, in the place of those that were proposed.

    :raises TaskSuperseded: another worker has the task
    """
    with transaction.atomic():
        task_store.fence(held)
        rows = Coin.objects.filter(pk__in=coin_ids, task_id=held.task_id, releasing=False)
        for row in rows.select_for_update(no_key=True, of=("self",)).order_by("id"):
            row.proposed = coin_secrets.seal_numbers(coin_secrets.fresh_numbers(), coin_id=row.pk)
            row.releasing = True
            row.outcome = Mark.UNASKED * RAIDA_COUNT
            row.save(update_fields=["proposed", "releasing", "outcome"])
