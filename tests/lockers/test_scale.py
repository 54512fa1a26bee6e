"""A wallet with 100,000 coins: what is read and written for it does not grow with it."""

import re
import time
import tracemalloc
from collections.abc import Callable, Iterator
from typing import Any

import pytest
from django.db import connection
from django.test.utils import CaptureQueriesContext

from lockers import audit, errors, queries
from lockers.models import Coin
from lockers.operations import export, put
from lockers.operations import transfer as transfer_coins
from lockers.raida.coins import UNITS_PER_COIN
from lockers.states import FileType
from lockers.worker import task_store
from tests.lockers.stock import post
from tests.tables import empty_tables
from trusts import operations as trusts
from wallets import operations as wallets
from wallets.models import Wallet

COINS = 100_000
PATIENCE_SECONDS = 60
# Ten denominations from 10^-5 to 10^4, 10,000 coins of each; all secrets alike, which no query here looks at.
_FILL = """
INSERT INTO lockers_coin (id, wallet_id, denomination, serial_number, state, origin, pown, secrets, outcome, releasing)
SELECT gen_random_uuid(), %s, number %% 10 - 5, number, 'bank', 'import', repeat('p', 25), repeat('x', 429)::bytea, '',
       false
  FROM generate_series(1, %s) AS number
"""


@pytest.fixture(scope="module")
def rich(django_db_setup: None, django_db_blocker: Any) -> Iterator[Wallet]:
    with django_db_blocker.unblock():
        try:
            wallet = wallets.create_wallet(name="rich", password="")
            with connection.cursor() as cursor:
                cursor.execute(_FILL, [wallet.pk, COINS])
                _vacuum(cursor)
            yield wallet
        finally:
            # Events too, which no foreign key ties to their wallet.
            empty_tables()


def _vacuum(cursor: Any) -> None:
    """
    Vacuum until every page is all-visible, as in a table without recent writes.

    One VACUUM does not suffice while another session has an earlier snapshot, and it skips a page that another process,
    such as the checkpointer, has pinned. By default it also spares the indexes while fewer than 2 % of the pages have
    dead rows, such as those of rolled-back tests: it then keeps their line pointers, and these pages never become
    all-visible.
    """
    end = time.monotonic() + PATIENCE_SECONDS
    while time.monotonic() < end:
        cursor.execute("VACUUM (ANALYZE, INDEX_CLEANUP ON) lockers_coin")
        cursor.execute("SELECT relpages, relallvisible FROM pg_class WHERE relname = 'lockers_coin'")
        pages, visible = cursor.fetchone()
        if pages == visible:
            return
        time.sleep(0.05)
    cursor.execute(
        "SELECT backend_type, state, query, pid, application_name, now() - xact_start FROM pg_stat_activity"
        " WHERE backend_xmin IS NOT NULL AND datname = current_database()"
    )
    raise AssertionError(f"{pages - visible} of {pages} pages are not visible to all yet: {cursor.fetchall()}")


@pytest.fixture
def wallet(rich: Wallet, db: None) -> Wallet:
    post(rich, sum(10 ** (exponent + 8) for exponent in range(-5, 5)) * (COINS // 10))
    return rich


def measured(call: Callable[[], Any]) -> tuple[Any, int, int]:
    """Return what the call returned, how many statements it sent, and how many bytes it held at its peak."""
    with CaptureQueriesContext(connection) as statements:
        tracemalloc.start()
        result = call()
        _, peak = tracemalloc.get_traced_memory()
        tracemalloc.stop()
    return result, len(statements), peak


def test_the_balance_is_read_from_an_index_alone(wallet: Wallet) -> None:
    (contents,), statements, peak = measured(lambda: queries.contents_of(wallet_list=[wallet]))

    assert contents.balance == sum(10 ** (exponent + 8) for exponent in range(-5, 5)) * (COINS // 10)
    assert (statements, peak < 200_000) == (1, True)
    with connection.cursor() as cursor:
        cursor.execute(
            "EXPLAIN (ANALYZE, COSTS OFF, TIMING OFF) SELECT wallet_id, state, task_id IS NOT NULL, denomination,"
            " count(*) FROM lockers_coin WHERE wallet_id = ANY(%s) GROUP BY 1, 2, 3, 4",
            [[wallet.pk]],
        )
        plan = "\n".join(row[0] for row in cursor.fetchall())
    assert "Index Only Scan using coin_of_wallet" in plan
    assert set(re.findall(r"Heap Fetches: (\d+)", plan)) == {"0"}


def test_a_put_of_one_coin_among_100_000_reads_one(wallet: Wallet) -> None:
    begun, statements, peak = measured(lambda: put.start(actor=wallet, name="rich", units=UNITS_PER_COIN, tag=""))

    assert Coin.objects.filter(task=begun.task).count() == 1
    assert (statements <= 12, peak < 300_000) == (True, True), (statements, peak)


def test_a_put_of_10_000_coins_sends_as_many_statements_and_is_worked_on_in_batches(wallet: Wallet) -> None:
    begun, statements, peak = measured(
        lambda: put.start(actor=wallet, name="rich", units=10_000 * 10_000 * UNITS_PER_COIN, tag="")
    )

    sizes = [
        Coin.objects.filter(task=begun.task, batch=batch).count() for batch in task_store.batches(task_id=begun.task.pk)
    ]
    assert sizes == [task_store.BATCH_COINS] * 10
    assert (statements <= 12, peak < 6_000_000) == (True, True), (statements, peak)


def test_a_transfer_of_20_000_coins_sends_as_many_statements_as_one_of_two(wallet: Wallet) -> None:
    sapling = trusts.open_managed_wallet(actor=wallet, name="sapling")
    units = 10_000 * (10_000 + 1_000) * UNITS_PER_COIN

    def transfer(amount: int) -> Callable[[], Any]:
        return lambda: transfer_coins.start(actor=wallet, source="rich", destination="sapling", units=amount)

    _, few, _ = measured(transfer(2 * UNITS_PER_COIN))
    _, many, peak = measured(transfer(units))

    assert Coin.objects.filter(wallet=sapling).count() == 20_002
    assert (many, peak < 12_000_000) == (few, True), (many, few, peak)
    assert list(audit.audit_findings()) == []


def test_an_export_of_everything_is_refused_before_anything_is_read(wallet: Wallet) -> None:
    def refused() -> str:
        try:
            export.start(actor=wallet, name="rich", units=None, file_type=FileType.BIN)
        except errors.InvalidLockerRequest as error:
            return str(error)
        return "made"

    message, statements, peak = measured(refused)

    assert message == "This amount needs 100000 coins; at most 20000 go at once"
    assert (statements <= 7, peak < 300_000) == (True, True), (statements, peak)
