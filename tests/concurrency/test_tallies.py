"""Counts of tokens while transfers are under way."""

import threading
import time
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from typing import Any

import pytest
from django.db import connection, connections, transaction
from django.db.models import Model

from tests.concurrency.races import PATIENCE_SECONDS, assert_sound, kinds, race
from tests.concurrency.writers import a_writer_that_has_no_number_yet, an_uncommitted_transfer
from transfers import audit, balances, counters, errors, list_counts, operations, outcome_counts
from transfers.list_models import ListMark
from transfers.models import OutcomeTally, TallyMark, Transfer, WalletDay
from trusts import operations as trusts
from wallets import event_sequence
from wallets.models import Token, Wallet


def held(wallet: Any) -> Any:
    return Token.objects.filter(wallet=wallet).count()


def told(wallet: Any) -> Any:
    return counters.token_counts([wallet.pk])[wallet.pk].total


def balance(wallet: Any) -> Any:
    return balances.balance(wallet_id=wallet.pk).tokens


def fold_while_an_earlier_transfer_is_not_committed(alice: Any) -> None:
    """Draw a number in one transaction, let another one overtake it, fold, and only then commit the first."""
    with an_uncommitted_transfer(alice):
        operations.send_bundle(actor=alice, sender="alice", receiver="sapling", size=1)
        assert counters.roll_up()


def test_a_transfer_that_commits_after_a_later_one_was_folded_is_counted(stocked: Wallet, sapling: Wallet) -> None:
    fold_while_an_earlier_transfer_is_not_committed(stocked)

    assert (told(stocked), told(sapling)) == (held(stocked), held(sapling)) == (38, 2)
    assert counters.roll_up()
    assert (told(stocked), told(sapling)) == (38, 2)
    assert (balance(stocked), balance(sapling)) == (38, 2)
    assert_sound()


def test_control_folding_up_to_the_newest_number_loses_it(
    stocked: Wallet, sapling: Wallet, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(event_sequence, "SETTLED", "SELECT last_value FROM wallets_event_number")

    fold_while_an_earlier_transfer_is_not_committed(stocked)

    assert (held(stocked), held(sapling)) == (38, 2)
    assert (told(stocked), told(sapling)) == (39, 1)
    assert (balance(stocked), balance(sapling)) == (39, 1)


@pytest.mark.parametrize("is_locked", [True, False], ids=["locked", "control"])
def test_what_is_issued_while_the_days_are_written_anew_is_counted_once(stocked: Wallet, is_locked: bool) -> None:
    issues: list[Future[int]] = []

    def issue() -> int:
        try:
            return operations.issue_tokens(wallet=stocked, count=3)
        finally:
            connections.close_all()

    def between(execute: Any, sql: str, *rest: Any) -> Any:
        if not is_locked and sql.startswith("LOCK TABLE transfers_tallydelta"):
            return None
        if sql.startswith("DELETE FROM transfers_walletday"):
            issues.append(pool.submit(issue))
            wait_until(lambda: issues[0].done() or waits_for_differences())
        return execute(sql, *rest)

    with ThreadPoolExecutor(1) as pool:
        with connection.execute_wrapper(between):
            counters.recount()
        assert issues[0].result(timeout=PATIENCE_SECONDS) == 3

    assert counters.roll_up()
    assert held(stocked) == told(stocked) == 43
    issued = sum(WalletDay.objects.filter(wallet=stocked).values_list("issued", flat=True))
    assert issued == (43 if is_locked else 46)
    if is_locked:
        assert_sound()


def waits_for_differences() -> bool:
    with connection.cursor() as cursor:
        cursor.execute("SELECT FROM pg_locks WHERE relation = 'transfers_tallydelta'::regclass AND NOT granted")
        return cursor.fetchone() is not None


def wait_until(is_so: Callable[[], bool]) -> None:
    end = time.monotonic() + PATIENCE_SECONDS
    while not is_so():
        assert time.monotonic() < end
        time.sleep(0.01)


def settled() -> int:
    with connection.cursor() as cursor:
        cursor.execute(event_sequence.SETTLED)
        return int(cursor.fetchone()[0])


def test_nothing_is_counted_twice_where_what_is_final_ends_earlier_than_before(
    stocked: Wallet, sapling: Wallet, bob: Wallet
) -> None:
    def fold() -> None:
        assert counters.roll_up()
        assert outcome_counts.roll_up()

    def check() -> None:
        assert (told(stocked), told(sapling)) == (held(stocked), held(sapling))
        ended = {state: Transfer.objects.filter(state=state).count() for state in ("completed", "cancelled", "failed")}
        assert outcome_counts.totals() == ended

    pending = [operations.send_bundle(actor=stocked, sender="alice", receiver="bobby", size=1) for _ in range(2)]
    operations.send_bundle(actor=stocked, sender="alice", receiver="sapling", size=3)
    fold()
    before = settled()
    with a_writer_that_has_no_number_yet():
        assert settled() == before - 1
        fold()
        # Behind what is final, by one statement or by a decision.
        operations.send_bundle(actor=stocked, sender="alice", receiver="sapling", size=1)
        operations.accept(actor=bob, transfer_id=pending[0].id)
        operations.decline(actor=bob, transfer_id=pending[1].id)
        fold()
    check()
    fold()
    check()
    assert outcome_counts.totals() == {"completed": 3, "cancelled": 1, "failed": 0}
    assert_sound()


@pytest.mark.parametrize("decide", ["accept", "decline"])
def test_an_outcome_is_counted_once_where_what_is_final_ends_between_its_two_events(
    stocked: Wallet, bob: Wallet, decide: str
) -> None:
    pending = operations.send_bundle(actor=stocked, sender="alice", receiver="bobby", size=1)
    getattr(operations, decide)(actor=bob, transfer_id=pending.id)
    outcome = {"accept": "completed", "decline": "cancelled"}[decide]
    expected = {"completed": 0, "cancelled": 0, "failed": 0} | {outcome: 1}

    with a_writer_that_has_no_number_yet():
        assert outcome_counts.roll_up()
    assert outcome_counts.totals() == expected
    assert outcome_counts.roll_up()
    assert outcome_counts.totals() == expected


@pytest.mark.parametrize("folders", [1, 3])
def test_every_look_during_a_storm_sees_counts_that_add_up(
    stocked: Wallet, sapling: Wallet, bob: Wallet, folders: int
) -> None:
    over = threading.Event()
    trusts.open_managed_wallet(actor=stocked, name="another")

    def storm(client: Any) -> None:
        try:
            for turn in range(12):
                sender, receiver = [("alice", "sapling"), ("sapling", "another"), ("another", "alice")][
                    (client + turn) % 3
                ]
                try:
                    operations.send_bundle(actor=stocked, sender=sender, receiver=receiver, size=1 + turn % 3)
                    pending = operations.send_bundle(actor=stocked, sender=sender, receiver="bobby", size=1)
                    decide = operations.accept if turn % 2 else operations.decline
                    decide(actor=bob, transfer_id=pending.id)
                except errors.InsufficientTokens:
                    continue
        finally:
            over.set()

    def fold() -> None:
        while not over.is_set():
            counters.roll_up()

    def look() -> Any:
        wrong = []
        while not over.is_set():
            with transaction.atomic(), connection.cursor() as cursor:
                cursor.execute("SET TRANSACTION ISOLATION LEVEL REPEATABLE READ, READ ONLY")
                cursor.execute(audit.query("the tallies agree with the tokens of each wallet") + " LIMIT %s", [5])
                wrong += cursor.fetchall()
        return wrong

    outcomes = race([*[lambda client=client: storm(client) for client in range(4)], *[fold] * folders, look])

    assert kinds(outcomes[:-1]) == {"None": 4 + folders}
    assert outcomes[-1] == []
    assert_sound()


@pytest.mark.parametrize(
    ("counting", "kept"),
    [(counters, TallyMark), (list_counts, ListMark), (outcome_counts, OutcomeTally)],
    ids=["tokens", "lists", "outcomes"],
)
def test_two_do_not_roll_up_at_once(stocked: Wallet, sapling: Wallet, counting: Any, kept: type[Model]) -> None:
    operations.send_bundle(actor=stocked, sender="alice", receiver="sapling", size=1)
    other = connection.copy()
    try:
        with other.cursor() as cursor:
            cursor.execute("SELECT pg_advisory_lock(%s)", [counting._LOCK])
        assert counting.roll_up() is False
        assert not kept._default_manager.exists()
        with other.cursor() as cursor:
            cursor.execute("SELECT pg_advisory_unlock(%s)", [counting._LOCK])
    finally:
        other.close()

    assert counting.roll_up() is True
    assert kept._default_manager.exists()
