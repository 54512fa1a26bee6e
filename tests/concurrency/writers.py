"""Transactions of other sessions that are not committed yet."""

import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from django.db import connection, connections, transaction

from transfers import operations
from wallets import event_sequence
from wallets.models import Wallet


@contextmanager
def uncommitted(act: Callable[[], object]) -> Iterator[None]:
    """Act in a transaction of another session, which commits at the end of the block."""
    done, commit = threading.Event(), threading.Event()

    def hold() -> None:
        try:
            with transaction.atomic():
                act()
                done.set()
                assert commit.wait(timeout=60)
        finally:
            connections.close_all()

    thread = threading.Thread(target=hold, daemon=True)
    thread.start()
    assert done.wait(timeout=60)
    try:
        yield
    finally:
        commit.set()
        thread.join(timeout=60)


@contextmanager
def an_uncommitted_transfer(alice: Wallet) -> Iterator[None]:
    with uncommitted(lambda: operations.send_bundle(actor=alice, sender="alice", receiver="sapling", size=1)):
        yield


@contextmanager
def a_writer_that_has_no_number_yet() -> Iterator[None]:
    """
    Keep a transaction open in which a writer has announced itself and has not taken a number.

    What is final then ends one number earlier than before: the announcement is less than any number to come.
    """

    def announce() -> None:
        with connection.cursor() as cursor:
            cursor.execute(f"SELECT {event_sequence.ANNOUNCED}")

    with uncommitted(announce):
        yield
