"""
Import: take over the coins of uploaded files.

Each coin gets fresh numbers by a pown. Files with two numbers per coin come from a transfer that was interrupted: the
servers are first asked which of the two they hold.
"""

from collections.abc import Callable, Mapping, Sequence
from datetime import timedelta
from typing import Any, Final
from uuid import UUID

from django.db import connection, transaction
from django.db.models.functions import Now
from django.views.decorators.debug import sensitive_variables

from lockers import coin_import, competing_claims, vault
from lockers.competing_claims import Arrivals
from lockers.errors import InvalidLockerRequest
from lockers.models import Coin, LockerTask, Upload
from lockers.raida.commands import Command
from lockers.raida.statuses import QUORUM, RAIDA_COUNT
from lockers.states import Mark, Step, TaskState
from lockers.worker import finalize, incoming, task_store
from lockers.worker.broadcast import Request, TaskRun
from lockers.worker.messages import CoinWork, Reply
from lockers.worker.task_store import Claim
from wallets.wording import counted, verb

# The lease while files are unpacked and read, which takes less; it cannot be renewed meanwhile.
_READING: Final = timedelta(seconds=60)


def run(task_run: TaskRun) -> None:
    """Import the coins of a task, and end it; it may be parked instead."""
    if task_run.task.plan.get("uploaded") and not _read_upload(task_run):
        return
    if not incoming.can_start(task_run):
        return
    numbers = task_store.batches(task_id=task_run.task.id)
    _sort_out_two_secrets(task_run, numbers)
    sorted_out = [number for number in numbers if number not in task_run.task.plan.get("two_secrets", [])]
    incoming.move_in(task_run, sorted_out, Command.POWN)
    unsorted = task_run.task.plan.get("two_secrets", [])
    number, listed = left_out(task_id=task_run.task.id, batches=unsorted) if sorted_out else (0, [])
    reason = ""
    if number:
        reason = (
            f"{counted(number, 'coin')} {verb(number, 'was left as it is', 'were left as they are')}:"
            f" fewer than {QUORUM} of {RAIDA_COUNT} servers said which number they hold."
        )
    task_run.conclude(reason=reason, further={"left_out": listed} if listed else {})


@sensitive_variables("sealed", "uploads", "found")
def _read_upload(task_run: TaskRun) -> bool:
    """Read files that were too large for a request, and return whether this worker has coins to work on now."""
    sealed = begin_reading(held=task_run.held)
    assert sealed is not None, "the flag and the files are deleted together"
    try:
        found = coin_import.read(vault.open_upload(sealed, task_id=task_run.task.id))
    except InvalidLockerRequest as error:
        finalize.finish(held=task_run.held, state=TaskState.ERROR, message=str(error), result={"files": []})
        return False
    arrivals = end_reading(
        held=task_run.held,
        save=lambda: coin_import.save(found, task_id=task_run.task.id, wallet_id=task_run.task.wallet_id),
        two_secrets=found.two_secrets,
        files=lambda: [coin_import.outcome_as_json(outcome) for outcome in found.outcomes],
    )
    if not arrivals:
        finalize.finish(held=task_run.held, state=TaskState.ERROR, message=coin_import.why_nothing(found), result={})
        return False
    task_run.task.refresh_from_db()
    return bool(arrivals.saved)


def _sort_out_two_secrets(task_run: TaskRun, numbers: list[int]) -> None:
    """
    Ask which of a file's two numbers each server holds.

    The batches named in the plan hold the file's two numbers in their two columns; afterwards they hold the number of
    each server, and fresh ones.
    """
    unsorted = list(task_run.task.plan.get("two_secrets", []))
    if not unsorted:
        return
    task_store.advance(held=task_run.held, step=Step.FINDING, progress=5)
    for batch in [number for number in numbers if number in unsorted]:
        pieces = task_run.coins(batch)
        told = _holders(task_run, batch, pieces)
        if not told:
            # Left for another import: a pown now could replace the wrong number.
            continue
        unsorted.remove(batch)
        aside = [piece.coin_id for piece in pieces if piece.coin_id not in told]
        if aside:
            numbers.append(max(numbers) + 1)
            unsorted.append(numbers[-1])
        place_fresh_numbers(
            held=task_run.held,
            holders=told,
            plan={**task_run.task.plan, "two_secrets": unsorted},
            aside=aside,
            aside_batch=numbers[-1],
        )
        task_run.task.plan["two_secrets"] = unsorted


def _holders(task_run: TaskRun, batch: int, pieces: Sequence[CoinWork]) -> dict[UUID, Sequence[bytes]]:
    """Return the number that each server holds, for the coins of which 13 servers have said it."""
    found = task_run.broadcast(Request(Command.FIND, batch, pieces, Mark.UNASKED))
    holders: dict[UUID, list[bytes]] = {piece.coin_id: list(piece.old) for piece in pieces}
    told: dict[UUID, list[Reply]] = {coin_id: [] for coin_id in holders}
    for raida, replies in found.items():
        for index, reply in replies.items():
            coin_id = pieces[index].coin_id
            told[coin_id].append(reply)
            if reply is Reply.HAS_NEW:
                holders[coin_id][raida] = pieces[index].new[raida]
    return {coin_id: numbers for coin_id, numbers in holders.items() if _enough_told(told[coin_id])}


def _enough_told(replies: Sequence[Reply]) -> bool:
    """Whether 13 servers have said which number of a coin they hold."""
    told = (Reply.HAS_OLD, Reply.HAS_NEW, Reply.HAS_NEITHER)
    return sum(reply in told for reply in replies) >= QUORUM


def begin_reading(*, held: Claim) -> bytes | None:
    """Return the sealed files of an import, and extend the lease; None if they were read before."""
    with transaction.atomic():
        task_store.fence(held, step=Step.READING)
        LockerTask.objects.filter(pk=held.task_id).update(lease_until=Now() + _READING)
        found = Upload.objects.filter(pk=held.task_id).values_list("content", flat=True).first()
    return None if found is None else bytes(found)


def end_reading(
    *, held: Claim, save: Callable[[], Arrivals], two_secrets: Sequence[int], files: Callable[[], list[dict[str, Any]]]
) -> Arrivals:
    """
    Commit the claims that `save` writes, and delete the files; `files` returns the outcome of each afterwards.

    A task whose coins all wait is parked.
    """
    with transaction.atomic():
        task_store.fence(held)
        arrivals = save()
        coins = len(arrivals.saved) + len(arrivals.waiting)
        Upload.objects.filter(pk=held.task_id).delete()
        LockerTask.objects.filter(pk=held.task_id).update(
            plan={"two_secrets": list(two_secrets)},
            result={"files": files()},
            is_long=task_store.is_long(coins),
            deadline=Now() + task_store.time_for(coins),
        )
        competing_claims.park_if_all_wait(held.task_id, arrivals)
    return arrivals


def place_fresh_numbers(
    *,
    held: Claim,
    holders: Mapping[UUID, Sequence[bytes]],
    plan: dict[str, Any],
    aside: Sequence[UUID] = (),
    aside_batch: int = 0,
) -> None:
    """
    Replace both secrets of coins: the old ones by `holders`, the proposed ones by fresh numbers.

    The coins `aside` are moved unchanged into the batch `aside_batch`.
    """
    with transaction.atomic():
        task_store.fence(held, plan=plan)
        if aside:
            Coin.objects.filter(pk__in=aside, task_id=held.task_id).update(batch=aside_batch)
        _write_secrets(
            {
                coin_id: (
                    vault.seal_numbers(numbers, coin_id=coin_id),
                    vault.seal_numbers(vault.fresh_numbers(), coin_id=coin_id),
                )
                for coin_id, numbers in holders.items()
            }
        )


def _write_secrets(numbers: Mapping[UUID, tuple[bytes, bytes | None]]) -> None:
    with connection.cursor() as cursor:
        cursor.execute(
            "UPDATE lockers_coin SET secrets = new.secrets, proposed = new.proposed"
            " FROM unnest(%s::uuid[], %s::bytea[], %s::bytea[]) AS new(id, secrets, proposed)"
            " WHERE lockers_coin.id = new.id",
            [list(numbers), [pair[0] for pair in numbers.values()], [pair[1] for pair in numbers.values()]],
        )


def left_out(*, task_id: UUID, batches: Sequence[int]) -> tuple[int, list[dict[str, int]]]:
    """Return how many coins are in these batches, and the identities of the first hundred as JSON."""
    rows = Coin.objects.filter(task_id=task_id, batch__in=batches).order_by("-denomination", "serial_number")
    return rows.count(), [
        {"sn": number, "denomination": denomination}
        for denomination, number in rows.values_list("denomination", "serial_number")[:100]
    ]
