"""What pages about one wallet read of large tables: each side of the wallet by an index, never a whole table."""

from collections.abc import Callable
from typing import Any

import pytest
from django.db import connection
from django.test import Client
from django.test.utils import CaptureQueriesContext
from django.urls import reverse

from transfers import reports as transfers
from trusts import reports as trusts
from wallets import operations as wallets


@pytest.mark.parametrize(
    "read",
    [
        lambda desk, wallet_id: transfers.latest_transfers(wallet_id=wallet_id, limit=10),
        lambda desk, wallet_id: trusts.neighbours(wallet_id=wallet_id),
        lambda desk, wallet_id: desk.get(reverse("admin:trusts_trust_changelist"), {"wallet": wallet_id}),
        lambda desk, wallet_id: desk.get(reverse("admin:transfers_transfer_changelist"), {"wallet": wallet_id}),
    ],
    ids=["latest transfers", "neighbours", "its trusts", "its transfers"],
)
def test_the_sides_of_a_wallet_are_read_by_their_indexes(desk: Client, read: Callable[..., Any]) -> None:
    wallet = wallets.create_wallet(name="alice")
    with CaptureQueriesContext(connection) as captured:
        read(desk, wallet.pk)

    plans = []
    with connection.cursor() as cursor:
        # The tables are empty, and would be read whole.
        cursor.execute("SET LOCAL enable_seqscan = off")
        for query in captured.captured_queries:
            if "trusts_trust" in query["sql"] or "transfers_transfer" in query["sql"]:
                cursor.execute(f"EXPLAIN {query['sql']}")
                plans.append("\n".join(line for (line,) in cursor.fetchall()))

    assert plans
    # A sequential scan remains only where no index can be used; a filter by a subplan is applied to all rows.
    assert [plan for plan in plans if "Seq Scan" in plan or "SubPlan" in plan] == []
