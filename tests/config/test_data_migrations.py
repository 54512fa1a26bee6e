"""
What migrations write into rows that are there: each says what the code that writes such rows now says.

The database goes back to before the first of them and forward again, in a transaction that is rolled back. What going
back drops has to be there again, as it was.
"""

import re
from typing import Any, Final

import pytest
from django.contrib.auth.models import User
from django.db import connection
from django.db.migrations import RunPython, RunSQL
from django.db.migrations.executor import MigrationExecutor
from django.db.migrations.loader import MigrationLoader
from django.utils import timezone

from config.admin.actions.wallets import RotateApiKey
from lockers.models import Coin, Locker
from lockers.states import CoinState, LockerState, TaskKind
from tests.desk.running import run
from transfers import counters
from transfers import operations as transfers
from trusts import operations as trusts
from trusts.states import TrustRequestType
from wallets import operations as wallets
from wallets.models import ApiKey
from wallets.operator_log import Operator, record
from wallets.states import OperatorVerb

# Each migration that writes rows, and the test that goes from the state before it.
WRITING: Final = {
    ("trusts", "0003_managed_in_order"): "here",
    ("trusts", "0005_powers"): "here",
    ("transfers", "0004_day_tallies_and_issues"): "here",
    ("wallets", "0013_things_of_actions"): "here",
    ("lockers", "0007_servers_heard_after_a_verdict"): "here",
    ("wallets", "0009_name_keys_without_invisible"): "tests/wallets/test_names.py",
    ("lockers", "0009_settled_before"): "tests/lockers/test_what_is_said.py",
}
BEFORE: Final = [
    ("lockers", "0006_turns_and_waiting_claims"),
    ("transfers", "0003_outcome_tally"),
    ("trusts", "0002_numbers_and_triggers"),
    ("wallets", "0007_answers_lock_no_wallet"),
]
_FUNCTION: Final = re.compile(r"\$\$.*?\$\$", re.DOTALL)
_WRITES: Final = re.compile(r"^\s*(WITH|INSERT|UPDATE|DELETE)\b", re.MULTILINE)


def writes(operation: Any) -> bool:
    match operation:
        case RunPython():
            return True
        case RunSQL():
            return bool(_WRITES.search(_FUNCTION.sub("", str(operation.sql))))
    return False


def test_every_migration_that_writes_rows_is_tested():
    found = {
        key
        for key, migration in MigrationLoader(None).disk_migrations.items()
        if key[0] in {"wallets", "trusts", "transfers", "lockers", "desk"}
        and any(writes(operation) for operation in migration.operations)
    }

    assert found == set(WRITING)


def read(sql: str) -> list[Any]:
    with connection.cursor() as cursor:
        cursor.execute(sql)
        return list(cursor.fetchall())


READ: Final = {
    "since when managed wallets exist": "SELECT id, managed_created_at FROM trusts_trust ORDER BY number",
    "what trusts give": "SELECT id, type, holder_id, subject_id FROM trusts_trust ORDER BY number",
    "what was issued": "SELECT wallet_id, sum(tokens) FROM transfers_issue GROUP BY 1 ORDER BY 1",
    "days": "SELECT day, transfers, tokens FROM transfers_daytally ORDER BY 1",
    "what acts concern": "SELECT id, things FROM wallets_operatoraction ORDER BY 1",
    "lockers to mend": "SELECT id, mend_at IS NOT NULL FROM lockers_locker ORDER BY 1",
}


def go_to(targets: list[tuple[str, str]]) -> None:
    with connection.cursor() as cursor:
        # Else a table that has them cannot be altered.
        cursor.execute("SET CONSTRAINTS ALL IMMEDIATE")
    executor = MigrationExecutor(connection)
    executor.migrate(targets)


@pytest.mark.django_db
def test_what_a_migration_writes_is_what_the_code_writes_now():
    alice, bobby, carol = (wallets.create_wallet(name=name) for name in ("alice", "bobby", "carol"))
    for asking, kind, asked in ((alice, "manage", bobby), (bobby, "yield", carol), (alice, "send", carol)):
        trust = trusts.request_trust(actor=asking, request_type=TrustRequestType(kind), requestee=asked.name)
        if kind != "yield":
            trusts.accept_trust(actor=asked, trust_id=trust.id)
    for wallet, count in ((alice, 5), (alice, 2), (bobby, 3)):
        transfers.issue_tokens(wallet=wallet, count=count)
    for size in (1, 2):
        transfers.send_bundle(actor=alice, sender="alice", receiver="carol", size=size)
    # Open, and completed later: neither is of a day.
    pending = transfers.send_bundle(actor=bobby, sender="bobby", receiver="carol", size=1)
    transfers.accept(actor=carol, transfer_id=pending.id)
    assert counters.fold()
    # Beyond what was folded.
    transfers.send_bundle(actor=alice, sender="alice", receiver="carol", size=1)
    _acts()
    _lockers(alice)
    before = {name: read(sql) for name, sql in READ.items()}
    assert len(before["what acts concern"]) == 4
    assert [tokens for _, tokens in before["what was issued"]] != []
    assert [row[1:] for row in before["days"]] == [(2, 3)]
    latest = MigrationExecutor(connection).loader.graph.leaf_nodes()

    go_to(BEFORE)
    with connection.cursor() as cursor:
        assert "transfers_issue" not in connection.introspection.table_names(cursor)
    go_to(latest)

    assert {name: read(sql) for name, sql in READ.items()} == before


def _acts() -> None:
    """One of a thing, one that made a key, one that made a task, and one of nothing in particular."""
    staff = User.objects.create_superuser("olga")
    key, _ = wallets.create_api_key(name="partner")
    run(RotateApiKey, key, old_stays_valid="0")
    assert ApiKey.objects.count() == 2
    record(
        Operator(staff, "2"), OperatorVerb.RETRIED_TASK, kind="task", object_id="1", after={"task": "2"},
        concerns=[("task", "2")],
    )  # fmt: skip
    record(Operator(staff, "3"), OperatorVerb.RETRIED_TASK, kind="task", object_id="1", after={"task": "1"})
    record(Operator(staff, "4"), OperatorVerb.RAN_AUDIT, kind="audit", after={"findings": 0})


def _lockers(wallet: Any) -> None:
    """A filled one that lacks a server is to be mended; a whole one and one that is not filled are not."""
    for number, (state, passes) in enumerate(
        ((LockerState.FILLED, 24), (LockerState.FILLED, 25), (LockerState.FILLING, 24)), start=1
    ):
        locker = Locker.objects.create(
            wallet=wallet,
            amount=10**8,
            state=state,
            code=b"sealed",
            mend_at=timezone.now() if (state, passes) == (LockerState.FILLED, 24) else None,
        )
        Coin.objects.create(
            wallet=wallet, denomination=0, serial_number=number, state=CoinState.LOCKED, origin=TaskKind.IMPORT,
            pown="p" * passes + "f" * (25 - passes), secrets=b"sealed", locker=locker,
        )  # fmt: skip
