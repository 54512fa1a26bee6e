"""
Find: ask what became of coins in limbo, and finish what was begun with them.
"""

from collections.abc import Sequence
from datetime import timedelta
from uuid import UUID

from django.conf import settings
from django.db import transaction
from django.db.models.functions import Now

from lockers import coin_breaks, vault
from lockers.models import Coin
from lockers.raida.authenticity import is_locker_key
from lockers.raida.commands import Command
from lockers.raida.statuses import QUORUM, RAIDA_COUNT
from lockers.states import Mark, Step
from lockers.worker import break_coin, broadcast, incoming, put, task_store
from lockers.worker.broadcast import GRACE_MOVE, Request, TaskRun
from lockers.worker.messages import ASKED, FOUND, MOVED_AGAIN, CoinWork
from lockers.worker.task_store import Claim


def run(task_run: TaskRun) -> None:
    """
    Ask about coins in limbo, finish what was begun with them, and end the task.

    A batch holds coins of one locker that a put left undecided, incoming coins, or a break.
    """
    everything = task_store.batches(task_id=task_run.task.id)
    numbers = [batch for batch in everything if batch >= 0]
    task_store.advance(held=task_run.held, step=Step.FINDING, progress=5)
    for position, batch in enumerate(numbers):
        coins = task_store.coins(task_id=task_run.task.id, batch=batch, keys=None, releasing=False)
        table = FOUND if is_quiet(task_id=task_run.task.id, batch=batch) else ASKED
        progress = broadcast.share(5, 60, position, len(numbers))
        task_run.broadcast(Request(Command.FIND, batch, coins, Mark.SENT + Mark.OLD, table, progress=progress))
    puts = [batch for batch in numbers if batch in task_run.task.plan.get("puts", [])]
    put.take_back(task_run, puts)
    for batch in numbers:
        if batch in puts:
            _release(task_run, batch)
        else:
            _finish_arrival(task_run, batch)
    for batch in everything:
        if batch <= coin_breaks.FIRST_BREAK:
            if not break_coin.family(held=task_run.held, batch=batch).broken.releasing:
                break_coin.look_again(task_run, batch, is_quiet=is_quiet(task_id=task_run.task.id, batch=batch))
            _release(task_run, batch)
    task_run.conclude()


def is_quiet(*, task_id: UUID, batch: int) -> bool:
    """
    Return whether no command that was sent before the coins went to limbo can still arrive.

    Servers process their requests in order; two timeouts are enough for one that was slow.
    """
    quiet = timedelta(seconds=2 * settings.RAIDA_TIMEOUT_SECONDS)
    return not Coin.objects.filter(task_id=task_id, batch=batch, changed_at__gt=Now() - quiet).exists()


def _release(task_run: TaskRun, batch: int) -> None:
    """
    Give fresh numbers to coins that 13 servers still hold after a timeout, before they may be spent.

    The request that was never answered may still be in flight. It can do nothing to a coin with other numbers. A coin
    stays in limbo while fewer than 13 servers have taken these.
    """
    kept = [
        coin.coin_id
        for coin in _returning(task_run, batch)
        if put.cannot_be_stored(coin.marks) and coin.marks.count(Mark.KEPT) >= QUORUM
    ]
    if kept:
        begin_release(held=task_run.held, coin_ids=kept)
    coins = task_store.coins(task_id=task_run.task.id, batch=batch, keys=None, releasing=True)
    if not coins:
        return
    task_store.advance(held=task_run.held, step=Step.RELEASING, progress=95)
    task_run.broadcast(Request(Command.FIND, batch, coins, Mark.SENT, ASKED))
    undone = Mark.UNASKED + Mark.OLD
    task_run.broadcast(Request(Command.POWN, batch, coins, undone, MOVED_AGAIN, intends=True, grace=GRACE_MOVE))
    incoming.ask_unconfirmed(task_run, batch, coins)


def _returning(task_run: TaskRun, batch: int) -> list[CoinWork]:
    """Return the coins of a batch that are not being released; of a break only the broken coin."""
    if batch <= coin_breaks.FIRST_BREAK:
        broken = break_coin.family(held=task_run.held, batch=batch).broken
        return [] if broken.releasing else [broken]
    return task_store.coins(task_id=task_run.task.id, batch=batch, keys=None, releasing=False)


def begin_release(*, held: Claim, coin_ids: Sequence[UUID]) -> None:
    """Commit fresh proposed numbers for coins that are about to be released, in place of those proposed before."""
    with transaction.atomic():
        task_store.fence(held)
        rows = Coin.objects.filter(pk__in=coin_ids, task_id=held.task_id, releasing=False)
        for row in rows.select_for_update(no_key=True, of=("self",)).order_by("id"):
            row.proposed = vault.seal_numbers(vault.fresh_numbers(), coin_id=row.pk)
            row.releasing = True
            row.outcome = Mark.UNASKED * RAIDA_COUNT
            row.save(update_fields=["proposed", "releasing", "outcome"])


def _finish_arrival(task_run: TaskRun, batch: int) -> None:
    """Repeat the command of incoming coins on servers that reported it as not executed."""
    by_key: dict[bytes | None, list[CoinWork]] = {}
    for coin in task_run.coins(batch):
        # A coin leaves a locker only by a remove, whose request names that locker's key.
        by_key.setdefault(coin.old[0] if is_locker_key(coin.old[0]) else None, []).append(coin)
    for key, coins in by_key.items():
        command = Command.POWN if key is None else Command.REMOVE
        task_run.broadcast(Request(command, batch, coins, Mark.KEPT, MOVED_AGAIN, intends=True))
        if command is Command.REMOVE:
            incoming.pown_forgotten(task_run, batch, coins)
        task_run.broadcast(Request(Command.FIND, batch, coins, Mark.SENT + Mark.ERROR, ASKED))
