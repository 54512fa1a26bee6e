"""
Taking the coins out of a locker.
"""

from functools import partial

from lockers import coin_secrets, fair_queue
from lockers.raida.commands import Command
from lockers.states import Step, TaskState
from lockers.worker import (
    incoming,
    late_answers,
    listening,
    peek,
    task_store,
)
from lockers.worker.broadcast import Work
from lockers.worker.messages import CoinWork


def run(work: Work) -> None:
    first: dict[int, list[CoinWork]] = {}
    if not incoming.goes_on(work):
        return
    if not task_store.batches(task_id=work.task.id):
        task_store.advance(held=work.held, step=Step.PEEKING, progress=2)
        late = listening.LastOf(work.task.id, partial(late_answers.write_peeked, work.task.id))
        try:
            first = _reserve_what_is_there(work, late)
            if not first:
                return
        finally:
            late.drop()
    incoming.move_in(work, task_store.batches(task_id=work.task.id), Command.REMOVE, known=first)
    work.conclude()


def _reserve_what_is_there(work: Work, late: listening.LastOf) -> dict[int, list[CoinWork]]:
    """
    Save the coins that the locker holds, and return the first batch of them.

    It is empty if this worker is done with the task: it has ended, its coins wait for other claims, or it gives way.
    """
    code = coin_secrets.task_code(work.task)
    seen = peek.look(code, work.servers, wallet_id=work.task.wallet_id, question=work.question, listen=late.begin)
    listing, keys, coins = seen.listing, seen.keys, seen.coins
    spelling = peek.spelling_of(code, seen.code)
    if not coins:
        peek.note_if_wrong(listing, work.task.actor_id, work.task.plan.get("from", ""))
        task_store.finish(
            held=work.held, state=TaskState.ERROR, message=peek.why_nothing(listing), result=peek.board(listing)
        )
        late.task_has_ended()
        return {}
    first, arrivals = task_store.reserve_listed(
        held=work.held, wallet_id=work.task.wallet_id, coins=sorted(coins), keys=keys, spelling=spelling
    )
    if not arrivals.saved and arrivals.waiting:
        return {}
    if fair_queue.give_way(work.held):
        return {}
    if not first:
        task_store.finish(
            held=work.held,
            state=TaskState.ERROR,
            message="The coins of this locker are being moved by another task of this service; nothing was taken.",
            result=peek.board(listing),
        )
        late.task_has_ended()
    return first
