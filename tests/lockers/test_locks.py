"""
The rows that a statement locks before another one changes them: which, in which order, and whether it waits.

The calls find no rows, because only their statements matter. Races that the locks decide are in tests/concurrency and
in the tests of the modules.
"""

import contextlib
from collections.abc import Callable
from typing import Any, Final
from uuid import UUID

import pytest
from django.db import connection

from lockers import (
    account_ledger,
    coin_breaks,
    competing_claims,
    current_results,
    delivery,
    fair_queue,
    key_rotation,
    payment_ledger,
)
from lockers.models import Coin, LockerTask, ReceiptLine
from lockers.operations import export, find, payment_requests, reserve, take_back
from lockers.raida.coins import Coin as WireCoin
from lockers.states import CoinState, LineType, TaskKind
from lockers.worker import break_coin, circuit_breaker, finalize, fix, health_check, late_answers, repair, task_store
from lockers.worker import find as find_task
from lockers.worker.messages import Reply
from lockers.worker.task_store import Claim
from tests.support import row_locks
from tests.support.coin_rows import a_coin, a_task
from wallets.models import Wallet


def _execute(statement: str, values: list[Any]) -> None:
    with connection.cursor() as cursor:
        cursor.execute(statement, values)


NONE: Final = UUID(int=1)
Call = Callable[[LockerTask, Claim], object]

LOCKS: Final[dict[str, tuple[Call, set[str]]]] = {
    "coin_breaks.settle": (
        lambda task, _: coin_breaks.settle(task=task, batch=-2, keep=True),
        {"lockers_coin by id ASC: NO KEY UPDATE"},
    ),
    "competing_claims.claim": (
        lambda task, _: competing_claims._want_decided([WireCoin(0, 1)], task.pk),
        {"lockers_lockertask: NO KEY UPDATE SKIP LOCKED"},
    ),
    "competing_claims.promote": (
        lambda task, _: competing_claims.promote(task_id=task.pk, batch_coins=9),
        {"lockers_coin by denomination, serial_number: NO KEY UPDATE"},
    ),
    "competing_claims.unpark": (
        lambda *_: competing_claims.unpark(limit=1),
        {"lockers_lockertask by created_at: NO KEY UPDATE SKIP LOCKED"},
    ),
    "current_results.follow": (
        lambda task, _: current_results.follow(later=task),
        {"lockers_lockertask by id: NO KEY UPDATE"},
    ),
    "delivery.deliver": (lambda task, _: delivery.deliver(task), {"lockers_coin by 1 ASC: NO KEY UPDATE"}),
    "fair_queue.claim_next": (
        lambda *_: fair_queue.claim_next(),
        {"advisory", "lockers_lockertask: NO KEY UPDATE SKIP LOCKED"},
    ),
    "export.confirm": (
        lambda task, _: export.confirm(actor=task.actor, export_id=NONE),
        {"lockers_export by task_id ASC: NO KEY UPDATE"},
    ),
    "find.start_overdue": (
        lambda task, _: find._reserve_limbo(wallet=task.wallet, actor=task.actor, limit=1, is_bounded=False),
        {"lockers_coin by locker_id ASC, origin ASC, id ASC: NO KEY UPDATE SKIP LOCKED"},
    ),
    "reserve.lock_free": (
        lambda task, _: reserve._lock_free(task.wallet, {0: 1}),
        {"lockers_coin by state, id: NO KEY UPDATE SKIP LOCKED"},
    ),
    "reserve.lock_one_to_break": (
        lambda task, _: reserve.lock_one_to_break(task.wallet, 1),
        {"lockers_coin by passes DESC, 1 ASC: NO KEY UPDATE SKIP LOCKED"},
    ),
    "break_coin.assemble": (lambda _, held: break_coin.assemble(held=held), {"lockers_coin by id ASC: NO KEY UPDATE"}),
    "circuit_breaker.probe": (
        lambda *_: circuit_breaker.probe(),
        {"lockers_serverhealth by raida: UPDATE SKIP LOCKED"},
    ),
    "finalize.conclude": (
        lambda _, held: finalize.conclude(held=held),
        {"advisory_shared, if free", "lockers_coin by id: NO KEY UPDATE", "lockers_locker by id: NO KEY UPDATE"},
    ),
    "finalize.lockers": (lambda *_: finalize._settle_lockers({NONE}), {"lockers_locker by id: NO KEY UPDATE"}),
    "find.begin_release": (
        lambda _, held: find_task.begin_release(held=held, coin_ids=[NONE]),
        {"lockers_coin by id ASC: NO KEY UPDATE"},
    ),
    "fix.fixable_coins": (
        lambda task, _: fix.fixable_coins(wallet_id=task.wallet_id),
        {"lockers_coin by changed_at ASC, 1 ASC: NO KEY UPDATE SKIP LOCKED"},
    ),
    "late_answers.write_repaired": (
        lambda *_: late_answers.write_repaired(locker_id=NONE, told={NONE: {0: Reply.PASS}}),
        {"lockers_lockertask by created_at ASC: NO KEY UPDATE"},
    ),
    "late_answers.claim_lost": (
        lambda *_: late_answers.claim_lost(limit=1),
        {"lockers_lockertask by listens_until: NO KEY UPDATE SKIP LOCKED"},
    ),
    "late_answers.ended": (
        lambda task, _: late_answers._ended(task.pk),
        {"lockers_lockertask by id ASC: NO KEY UPDATE"},
    ),
    "repair.claim": (lambda *_: repair._claim(), {"lockers_locker by mend_at: NO KEY UPDATE SKIP LOCKED"}),
    "task_store.overdue_tasks": (
        lambda *_: task_store.overdue_tasks(),
        {"lockers_lockertask by rung_at: NO KEY UPDATE SKIP LOCKED"},
    ),
    "account_ledger.post": (
        lambda task, _: account_ledger.post(
            task_id=task.pk, postings=[account_ledger.Posting(task.wallet_id, 1, LineType.IMPORTED)]
        ),
        {"advisory_shared, if free", "lockers_account by wallet_id: NO KEY UPDATE"},
    ),
    "health_check.record": (
        lambda *_: health_check.record(list(Coin.objects.all()), [dict.fromkeys(range(25), Reply.PASS)]),
        {"lockers_coin: NO KEY UPDATE SKIP LOCKED"},
    ),
    "late_answers.stored": (
        lambda *_: _execute(late_answers._STORED, [[], [], []]),
        {"lockers_coin: NO KEY UPDATE SKIP LOCKED"},
    ),
    "late_answers.arrived": (
        lambda *_: _execute(late_answers._ARRIVED, [*[[]] * 7, None]),
        {"lockers_coin: NO KEY UPDATE SKIP LOCKED"},
    ),
    "repair.put_off": (lambda *_: repair._put_off([NONE]), {"lockers_locker by id: NO KEY UPDATE"}),
    "take_back.lock_due": (
        lambda *_: take_back._lock_due(NONE),
        {"lockers_locker by id ASC: NO KEY UPDATE SKIP LOCKED"},
    ),
    "payment_ledger.lock": (
        lambda *_: payment_ledger.lock([NONE]),
        {"lockers_paymentrequest by id ASC: NO KEY UPDATE"},
    ),
    "finalize.note_taken": (lambda *_: finalize._note_taken([NONE]), {"lockers_coin by id ASC: NO KEY UPDATE"}),
    "payment_requests.expire": (
        lambda *_: payment_requests.expire_due(),
        {"lockers_paymentrequest by expires_at: NO KEY UPDATE SKIP LOCKED"},
    ),
    "key_rotation.write": (
        lambda *_: _execute(key_rotation._WRITE.format(key_rotation._PLACES[0]), [[], [], []]),
        {"lockers_coin: NO KEY UPDATE SKIP LOCKED"},
    ),
}


@pytest.mark.parametrize("name", LOCKS)
def test_a_statement_locks_the_rows_that_the_next_one_changes(name: str, alice: Wallet) -> None:
    call, expected = LOCKS[name]
    a_coin(alice, CoinState.BANK)
    task = a_task(alice, TaskKind.PUT)
    task.amount = 1
    task.save(update_fields=["amount"])
    # A line in doubt of an earlier task, which the line of this one settles.
    earlier = a_task(alice, TaskKind.PUT)
    for each, state in ((earlier, CoinState.LIMBO), (task, CoinState.BANK)):
        ReceiptLine.objects.create(task=each, denomination=0, serial_number=1, state=state, pown="n" * 25)
    held = task_store.claim(task_id=task.pk)
    assert held is not None

    with row_locks.recorded() as taken, contextlib.suppress(Exception):
        call(task, held)

    assert taken == expected
