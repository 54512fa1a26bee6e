"""Writers of events that are not done yet."""

import threading
from collections.abc import Iterator
from contextlib import contextmanager

from django.db import connection, connections, transaction

from wallets import event_sequence


@contextmanager
def a_writer_that_has_no_number_yet() -> Iterator[None]:
    """
    Keep a transaction open in which a writer has announced itself and has not taken a number.

    What is final then ends one number earlier than before: the announcement is less than any number to come.
    """
    announced, commit = threading.Event(), threading.Event()

    def announce() -> None:
        try:
            with transaction.atomic():
                with connection.cursor() as cursor:
                    cursor.execute(f"SELECT {event_sequence.ANNOUNCED}")
                announced.set()
                assert commit.wait(timeout=60)
        finally:
            connections.close_all()

    thread = threading.Thread(target=announce, daemon=True)
    thread.start()
    assert announced.wait(timeout=60)
    try:
        yield
    finally:
        commit.set()
        thread.join(timeout=60)
