"""
Put: move the coins of a wallet into a locker.

PUT is first sent only to the servers that are known to hold the coin's authenticity number (AN). If fewer than 13 of
them store a coin, the other servers are asked which AN they hold: the import or take that brought the coin ended with
13 confirmations, so each of the other 12 servers may hold the old AN or the new one. A coin that 13 servers can no
longer store is taken back out of the locker.
"""

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Final
from uuid import UUID

from django.db import connection, transaction

from lockers import vault
from lockers.models import Coin
from lockers.raida.authenticity import is_locker_key
from lockers.raida.commands import Command
from lockers.raida.statuses import QUORUM, RAIDA_COUNT
from lockers.states import Mark, Step
from lockers.worker import broadcast, messages, task_store
from lockers.worker.broadcast import GRACE_MOVE, GRACE_PUT, Request, TaskRun
from lockers.worker.messages import ASKED, MOVED, MOVED_AGAIN, CoinWork, Reply, Table, every
from lockers.worker.task_store import Claim

# Tables: (mark before, reply) -> mark after. The first two belong to `_take_back_batch`.
_RETURNED: Final[Table] = {(Mark.NEW, Reply.PASS): Mark.KEPT}
_ASKED_ABOUT_RETURN: Final[Table] = {
    (Mark.NEW, Reply.HAS_OLD): Mark.KEPT,
    (Mark.NEW, Reply.HAS_NEITHER): Mark.GONE,
}
# Marks of servers that may hold the old AN and to which no command is on its way: DETECT can tell.
_OLD_PERHAPS: Final = Mark.UNASKED + Mark.UNREACHED + Mark.REFUSED + Mark.KEPT + Mark.ERROR + Mark.UNREADABLE
_CHECKED: Final[Table] = every(_OLD_PERHAPS, {Reply.PASS: Mark.KEPT, Reply.FAIL: Mark.NEITHER})
_DENIED: Final[Table] = {(Mark.REFUSED, Reply.FAIL): Mark.NEITHER}


def run(task_run: TaskRun) -> None:
    """Put the coins of a task into its locker, and end the task."""
    numbers = [batch for batch in task_store.batches(task_id=task_run.task.id) if batch >= 0]
    undecided = []
    for position, batch in enumerate(numbers):
        coins = task_run.fresh_coins(batch)
        progress = broadcast.share(5, 70, position, len(numbers))
        task_run.send_batch(Request(Command.PUT, batch, coins, grace=GRACE_PUT, progress=progress), known_good=True)
        _put_where_refused(task_run, batch, coins)
        _put_where_unsure(task_run, batch, coins)
        if not broadcast.all_stored(coins):
            undecided.append(batch)
    if undecided:
        _ask_the_undecided(task_run, undecided)
        take_back(task_run, undecided)
    task_run.conclude()


def _put_where_refused(task_run: TaskRun, batch: int, coins: Sequence[CoinWork]) -> None:
    """
    Ask each server that refused a whole batch about each coin, and send PUT again with the coins that it accepts.

    A server that answered with an error is asked too.

    Does nothing if 13 servers have stored each coin: `lockers.worker.repair` asks about the others later. A server that
    accepts every coin refused the batch for another reason, and is not asked again.
    """
    kinds = {coin.marks for coin in coins}
    if not any(marks.count(Mark.NEW) < QUORUM and {Mark.REFUSED, Mark.ERROR} & set(marks) for marks in kinds):
        return
    told = task_run.broadcast(Request(Command.DETECT, batch, coins, Mark.REFUSED + Mark.ERROR, _DENIED))
    refusing = {raida: each for raida, each in told.items() if {Reply.FAIL, Reply.ERROR} & set(each.values())}
    known = messages.where(refusing, Reply.PASS)
    task_run.broadcast(
        Request(Command.PUT, batch, coins, targets=known, table=MOVED_AGAIN, intends=True, grace=GRACE_PUT)
    )


def _put_where_unsure(task_run: TaskRun, batch: int, coins: Sequence[CoinWork]) -> None:
    """
    Put each coin that fewer than 13 servers have stored on the servers that were not asked about it yet.

    These servers are first asked which AN they hold. Leaves out coins about which every server was asked, and coins
    that would stay below 13 even if each server stored them that has neither confirmed nor refused.
    """
    hopeful = {marks for marks in {coin.marks for coin in coins} if _could_be_stored(marks)}
    if not any(Mark.UNASKED in marks for marks in hopeful):
        return
    undecided = [coin for coin in coins if coin.marks in hopeful]
    proposed = _proposed_numbers(task_id=task_run.task.id, batch=batch)
    asked = [replace(coin, new=tuple(proposed.get(coin.coin_id, coin.old))) for coin in undecided]
    found = task_run.broadcast(Request(Command.FIND, batch, asked, Mark.UNASKED, grace=GRACE_MOVE))
    adopted: dict[int, set[int]] = {}
    holding: dict[int, list[int]] = {}
    for raida, told in found.items():
        for index, reply in told.items():
            # `new` may be the key of an earlier locker. A server that holds that key holds no AN of this wallet.
            is_ours = reply is Reply.HAS_NEW and not is_locker_key(asked[index].new[raida])
            if is_ours:
                adopted.setdefault(index, set()).add(raida)
            if is_ours or reply is Reply.HAS_OLD:
                holding.setdefault(raida, []).append(index)
    _adopt(task_run, undecided, asked, adopted)
    targets = {raida: tuple(indices) for raida, indices in holding.items()}
    task_run.broadcast(
        Request(Command.PUT, batch, undecided, targets=targets, table=MOVED, intends=True, grace=GRACE_PUT)
    )


def _could_be_stored(marks: str) -> bool:
    perhaps = Mark.NEW + Mark.SENT + Mark.ERROR + Mark.UNASKED
    return marks.count(Mark.NEW) < QUORUM <= sum(mark in perhaps for mark in marks)


def _proposed_numbers(*, task_id: UUID, batch: int) -> dict[UUID, Sequence[bytes]]:
    """Return the proposed ANs that an earlier task left undecided, by coin id; coins without any are left out."""
    rows = Coin.objects.filter(task_id=task_id, batch=batch, proposed__isnull=False).values_list("id", "proposed")
    return {coin_id: vault.open_numbers(proposed or b"", coin_id=coin_id) for coin_id, proposed in rows}


def _adopt(
    task_run: TaskRun, coins: Sequence[CoinWork], asked: Sequence[CoinWork], adopted: Mapping[int, set[int]]
) -> None:
    """Commit the ANs found on the servers before the put overwrites them: they cannot be read back afterwards."""
    for index, raidas in adopted.items():
        coin, numbers = coins[index], asked[index].new
        coin.old = tuple(numbers[raida] if raida in raidas else coin.old[raida] for raida in range(RAIDA_COUNT))
        coin.pown = "".join("p" if raida in raidas else coin.pown[raida] for raida in range(RAIDA_COUNT))
    if adopted:
        adopt(held=task_run.held, pieces=[coins[index] for index in adopted])


def adopt(*, held: Claim, pieces: Sequence[CoinWork]) -> None:
    """Commit the ANs of coins (`old`) and the letters that say which servers hold them (`pown`)."""
    with transaction.atomic():
        task_store.fence(held)
        with connection.cursor() as cursor:
            cursor.execute(
                "UPDATE lockers_coin SET secrets = new.secrets, pown = new.pown,"
                # The proposed ANs are kept while a server may hold either.
                "       proposed = CASE WHEN strpos(new.pown, 'n') > 0 THEN proposed END"
                "  FROM unnest(%s::uuid[], %s::bytea[], %s::text[]) AS new(id, secrets, pown)"
                " WHERE lockers_coin.id = new.id AND lockers_coin.task_id = %s",
                [
                    [piece.coin_id for piece in pieces],
                    [vault.seal_numbers(piece.old, coin_id=piece.coin_id) for piece in pieces],
                    [piece.pown for piece in pieces],
                    held.task_id,
                ],
            )


def _ask_the_undecided(task_run: TaskRun, numbers: Sequence[int]) -> None:
    """Ask servers that did not answer, or reported an error, about the coins that fewer than 13 servers have stored."""
    task_store.advance(held=task_run.held, step=Step.ASKING, progress=70)
    for batch in numbers:
        undecided = [coin for coin in task_run.coins(batch) if coin.marks.count(Mark.NEW) < QUORUM]
        task_run.broadcast(Request(Command.FIND, batch, undecided, Mark.SENT + Mark.ERROR, ASKED, grace=GRACE_MOVE))


def take_back(task_run: TaskRun, numbers: Sequence[int]) -> None:
    """
    Take the coins that can no longer be stored on 13 servers back out of the locker.

    A coin stays where it is while 13 servers may still store it: those that have not answered, and those at which a
    delayed PUT may arrive. It goes to limbo, and a find decides when they answer. Coins that are being released
    (`Coin.releasing`) are left out.
    """
    task_store.advance(held=task_run.held, step=Step.RETURNING, progress=85)
    for batch in numbers:
        coins = [coin for coin in task_run.coins(batch) if not coin.releasing and cannot_be_stored(coin.marks)]
        if coins:
            _take_back_batch(task_run, batch, coins)
    task_store.advance(held=task_run.held, step=Step.CHECKING, progress=92)
    for batch in numbers:
        coins = [
            coin
            for coin in task_run.coins(batch)
            if not coin.releasing and _was_touched(coin.marks) and cannot_be_stored(coin.marks)
        ]
        task_run.broadcast(Request(Command.DETECT, batch, coins, _OLD_PERHAPS, _CHECKED))


def _take_back_batch(task_run: TaskRun, batch: int, coins: Sequence[CoinWork]) -> None:
    ask = Request(Command.FIND, batch, coins, Mark.NEW, _ASKED_ABOUT_RETURN)
    # A worker that died may have sent the remove already.
    task_run.broadcast(ask)
    told = task_run.broadcast(Request(Command.REMOVE, batch, coins, Mark.NEW, _RETURNED, back=True))
    held = task_run.broadcast(ask)
    # A server loses its list of lockers when it restarts, but its coins keep the locker's key as AN. REMOVE then fails
    # although the coin is there. POWN replaces the key on each server whose REMOVE failed and which holds the key
    # according to its reply to FIND.
    forgotten = {
        raida: {index: reply for index, reply in each.items() if told[raida].get(index) is Reply.FAIL}
        for raida, each in held.items()
    }
    targets = messages.where(forgotten, Reply.HAS_NEW)
    task_run.broadcast(Request(Command.POWN, batch, coins, targets=targets, table=_RETURNED, back=True))
    task_run.broadcast(ask)


def cannot_be_stored(marks: str) -> bool:
    return marks.count(Mark.NEW) < QUORUM and sum(mark in Mark.NEW + Mark.SENT + Mark.OLD for mark in marks) < QUORUM


def _was_touched(marks: str) -> bool:
    return not set(marks) <= {Mark.UNASKED, Mark.UNREACHED}
