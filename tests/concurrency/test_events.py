"""Who follows the events misses none that is committed late; the control reads on regardless and misses one."""

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any
from uuid import UUID

import pytest
from django.db import connection, connections, transaction

from tests.concurrency.races import PATIENCE_SECONDS, race
from transfers import bulk, events, operations
from trusts import operations as trusts
from wallets import event_sequence
from wallets import operations as wallets
from wallets.models import Wallet


@contextmanager
def committed_late(act: Any) -> Iterator[None]:
    """Do something in a transaction of another connection that is committed at the end of the block."""
    done, commit, errors = threading.Event(), threading.Event(), []

    def run() -> None:
        try:
            with transaction.atomic():
                act()
                done.set()
                commit.wait(timeout=PATIENCE_SECONDS)
        except Exception as error:  # noqa: BLE001 - raised below
            errors.append(error)
            done.set()
        finally:
            connections.close_all()

    thread = threading.Thread(target=run, daemon=True)
    thread.start()
    assert done.wait(timeout=PATIENCE_SECONDS)
    try:
        yield
    finally:
        commit.set()
        thread.join(timeout=PATIENCE_SECONDS)
    assert errors == []


class Reader:
    """A client that follows the cursor, and reads again at the end."""

    def __init__(self, wallet: Any) -> None:
        self.wallet, self.position, self.seen = wallet, None, []
        self.read()
        self.seen.clear()

    def read(self, limit: int = 3) -> None:
        while rows := events.page_of(self.wallet_ids(), limit=limit, after=self.position)[0]:
            self.position = (rows[-1].number, rows[-1].party)
            self.seen += [(row.wallet_id, row.type, row.number) for row in rows]

    def wallet_ids(self) -> list[UUID]:
        return events.wallets_of(actor_id=self.wallet.pk, wallet=None)

    def types(self) -> Any:
        return [kind for _, kind, _ in self.seen]


def send(alice: Any, bob: Any, size: int = 1) -> Any:
    return operations.send_bundle(actor=alice, sender=alice.name, receiver=bob.name, size=size)


LATE = {
    "transfer": lambda alice, bob: send(alice, bob, 2),
    "batch": lambda alice, bob: bulk.transfer_batch(actor=alice, sender="alice", rows=[bulk.Row(2, "bobby", 2)]),
    "trust": lambda alice, bob: trusts.request_trust(actor=alice, request_type="send", requestee="bobby"),
    "wallet": lambda alice, bob: wallets.create_wallet(name="seedling", creator=alice),
}


@pytest.mark.parametrize("late", LATE)
def test_an_event_that_is_committed_late_is_read_in_its_place(stocked: Wallet, bob: Wallet, late: Any) -> None:
    reader = Reader(stocked)
    with committed_late(lambda: LATE[late](stocked, bob)):
        send(stocked, bob)
        reader.read()
        assert reader.types() == []
    reader.read()

    assert len(reader.types()) == 2
    assert reader.types()[1] == "transfer_requested"
    numbers = [number for _, _, number in reader.seen]
    assert numbers == sorted(numbers)


def test_control_a_reader_that_does_not_wait_for_the_order_misses_the_late_event(
    stocked: Wallet, bob: Wallet, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(event_sequence, "SETTLED", "SELECT last_value FROM wallets_event_number")
    reader = Reader(stocked)
    with committed_late(lambda: send(stocked, bob, 2)):
        send(stocked, bob)
        reader.read()
    reader.read()

    assert reader.types() == ["transfer_requested"]


def test_what_is_announced_in_another_database_of_the_server_holds_no_reader_up(stocked: Wallet, bob: Wallet) -> None:
    reader = Reader(stocked)
    locks = ((event_sequence._KIND, 0), (event_sequence._KIND + 1, 0))
    with connection._nodb_cursor() as elsewhere, announced(locks[1]):
        elsewhere.execute("SELECT pg_advisory_lock_shared(%s, %s)", locks[0])
        send(stocked, bob)
        reader.read()
        # An announcement in this database does.
        assert reader.types() == ["transfer_requested"]
        with announced(locks[0]):
            send(stocked, bob)
            reader.read()
            assert len(reader.types()) == 1
    reader.read()
    assert len(reader.types()) == 2


@contextmanager
def announced(lock: tuple[int, int]) -> Iterator[None]:
    """Hold an advisory lock in another session of this database."""

    def hold() -> None:
        with connection.cursor() as cursor:
            cursor.execute("SELECT pg_advisory_xact_lock_shared(%s, %s)", lock)

    with committed_late(hold):
        yield


def test_an_effect_that_is_rolled_back_leaves_neither_an_event_nor_a_hole(stocked: Wallet, bob: Wallet) -> None:
    reader = Reader(stocked)

    def fail() -> None:
        with transaction.atomic():
            send(stocked, bob, 2)
            trusts.request_trust(actor=stocked, request_type="send", requestee="bobby")
            transaction.set_rollback(True)

    race([fail])
    send(stocked, bob)
    reader.read()

    assert reader.types() == ["transfer_requested"]


def test_a_reader_beside_eight_writers_reads_each_event_once_and_in_order(
    stocked: Wallet, sapling: Wallet, bob: Wallet
) -> None:
    reader = Reader(stocked)
    going_on = threading.Event()

    def write() -> None:
        for _ in range(4):
            send(stocked, sapling)
            send(stocked, bob)

    def follow() -> None:
        while not going_on.is_set():
            reader.read()

    follower = threading.Thread(target=lambda: (follow(), connection.close()), daemon=True)
    follower.start()
    try:
        race([write] * 5)
    finally:
        going_on.set()
        follower.join(timeout=PATIENCE_SECONDS)
    reader.read()

    # The manager of sapling reads of both sides of what it sends there.
    kinds = [(wallet_id, kind) for wallet_id, kind, _ in reader.seen]
    assert kinds.count((stocked.pk, "transfer_completed")) == 20
    assert kinds.count((sapling.pk, "transfer_completed")) == 20
    assert kinds.count((stocked.pk, "transfer_requested")) == 20
    assert len(kinds) == 60
    numbers = [number for _, _, number in reader.seen]
    assert numbers == sorted(numbers)
