"""
Bringing in the coins of files.
"""

from collections.abc import Sequence
from uuid import UUID

from django.views.decorators.debug import sensitive_variables

from lockers import coin_import, coin_secrets
from lockers.errors import InvalidLockerRequest
from lockers.raida.commands import Command
from lockers.raida.statuses import QUORUM, RAIDA_COUNT
from lockers.states import Mark, Step, TaskState
from lockers.worker import (
    incoming,
    messages,
    task_store,
)
from lockers.worker.broadcast import Work
from lockers.worker.messages import CoinWork, Reply
from wallets.wording import counted, verb


def run(work: Work) -> None:
    if work.task.plan.get("uploaded") and not _read_upload(work):
        return
    if not incoming.goes_on(work):
        return
    numbers = task_store.batches(task_id=work.task.id)
    _sort_out_two_secrets(work, numbers)
    sorted_out = [number for number in numbers if number not in work.task.plan.get("two_secrets", [])]
    incoming.move_in(work, sorted_out, Command.POWN)
    unsorted = work.task.plan.get("two_secrets", [])
    number, left_out = task_store.left_out(task_id=work.task.id, batches=unsorted) if sorted_out else (0, [])
    reason = ""
    if number:
        reason = (
            f"{counted(number, 'coin')} {verb(number, 'was left as it is', 'were left as they are')}:"
            f" fewer than {QUORUM} of {RAIDA_COUNT} servers said which number they hold."
        )
    work.conclude(reason=reason, further={"left_out": left_out} if left_out else {})


@sensitive_variables("sealed", "uploads", "found")
def _read_upload(work: Work) -> bool:
    """Read files that were too large for a request, and tell whether there is anything to do for this worker now."""
    sealed = task_store.begin_reading(held=work.held)
    assert sealed is not None, "the files are deleted with the word that they are there"
    try:
        found = coin_import.read(coin_secrets.open_upload(sealed, task_id=work.task.id))
    except InvalidLockerRequest as error:
        task_store.finish(held=work.held, state=TaskState.ERROR, message=str(error), result={"files": []})
        return False
    arrivals = task_store.end_reading(
        held=work.held,
        save=lambda: coin_import.save(found, task_id=work.task.id, wallet_id=work.task.wallet_id),
        two_secrets=found.two_secrets,
        files=lambda: [coin_import.outcome_as_json(outcome) for outcome in found.outcomes],
    )
    if not arrivals:
        task_store.finish(held=work.held, state=TaskState.ERROR, message=coin_import.why_nothing(found), result={})
        return False
    work.task.refresh_from_db()
    return bool(arrivals.saved)


def _sort_out_two_secrets(work: Work, numbers: list[int]) -> None:
    """
    Learn which of a file's two numbers each server holds.

    Files with proposed numbers come from a transfer that was cut off. The batches named in the
    plan have the file's two numbers in their two columns; afterwards they have the one that each
    server holds, and fresh ones.
    """
    unsorted = list(work.task.plan.get("two_secrets", []))
    if not unsorted:
        return
    task_store.advance(held=work.held, step=Step.FINDING, progress=5)
    for batch in [number for number in numbers if number in unsorted]:
        pieces = work.pieces(batch)
        told = _holders(work, batch, pieces)
        if not told:
            # Left as it is, to be imported again: powning now could take the wrong number for the right one.
            continue
        unsorted.remove(batch)
        aside = [piece.coin_id for piece in pieces if piece.coin_id not in told]
        if aside:
            numbers.append(max(numbers) + 1)
            unsorted.append(numbers[-1])
        task_store.place_fresh_numbers(
            held=work.held,
            holders=told,
            plan={**work.task.plan, "two_secrets": unsorted},
            aside=aside,
            aside_batch=numbers[-1],
        )
        work.task.plan["two_secrets"] = unsorted


def _holders(work: Work, batch: int, pieces: Sequence[CoinWork]) -> dict[UUID, Sequence[bytes]]:
    """
    Return which of its two numbers each server holds, for the coins of which 13 servers tell it.
    """
    everywhere = messages.choose(pieces, Mark.UNASKED)
    found = work.exchange(Command.FIND, batch, pieces, everywhere, {})
    holders: dict[UUID, list[bytes]] = {piece.coin_id: list(piece.old) for piece in pieces}
    told: dict[UUID, list[Reply]] = {coin_id: [] for coin_id in holders}
    for raida, replies in found.items():
        for index, reply in zip(everywhere[raida], replies, strict=True):
            coin_id = pieces[index].coin_id
            told[coin_id].append(reply)
            if reply is Reply.HAS_NEW:
                holders[coin_id][raida] = pieces[index].new[raida]
    return {coin_id: numbers for coin_id, numbers in holders.items() if _enough_told(told[coin_id])}


def _enough_told(replies: Sequence[Reply]) -> bool:
    """Whether 13 servers have said which number of a coin they hold."""
    told = (Reply.HAS_OLD, Reply.HAS_NEW, Reply.HAS_NEITHER)
    return sum(reply in told for reply in replies) >= QUORUM
