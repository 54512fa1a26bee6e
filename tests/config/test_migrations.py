"""Migrations: each keeps the rows, and each object of the database comes from one file and can be dropped."""

import importlib
import re
from pathlib import Path
from typing import Any, Final

import pytest
from django.db import IntegrityError, connection, transaction
from django.db.migrations import RunPython, RunSQL
from django.db.migrations.loader import MigrationLoader

from tests.support.migrated_apps import APPS
from transfers import audit as transfers_audit
from transfers import counters
from transfers import operations as transfers
from trusts import operations as trusts
from trusts.states import TrustRequestType
from wallets import operations as wallets
from wallets.sql_files import load

ROOT: Final = Path(__file__).parents[2]
_CREATED: Final = re.compile(r"^(?:CREATE [A-Z ]+|DROP TRIGGER) (\w+)|ADD CONSTRAINT (\w+)", re.MULTILINE)


def files() -> dict[str, str]:
    """The text of each schema file, by the name of the file."""
    return {path.stem: path.read_text() for path in ROOT.glob("*/sql/schema/*.sql")}


def test_each_schema_file_creates_one_object_that_bears_its_name() -> None:
    created = {name: ["".join(each) for each in _CREATED.findall(text)] for name, text in files().items()}

    # A later migration replaces or drops an object from `<object>__2.sql`, and so on.
    assert created == {name: [name.partition("__")[0]] for name in files()}


def test_each_object_comes_from_a_file_and_can_be_dropped() -> None:
    operations = [
        operation
        for (app, _), migration in MigrationLoader(None).disk_migrations.items()
        if app in APPS
        for operation in migration.operations
        if isinstance(operation, RunSQL | RunPython)
    ]

    texts = [load(path.parents[2].name, f"schema/{path.stem}") for path in ROOT.glob("*/sql/schema/*.sql")]
    assert sorted(str(operation.sql) for operation in operations) == sorted(texts)
    assert [operation.sql for operation in operations if not operation.reversible] == []


def test_a_test_of_one_migration_leaves_all_applied_for_the_tests_after_it() -> None:
    """`migrated_back` does so; the other file goes back with all apps, and forward."""
    migrating = {path.name for path in ROOT.glob("tests/**/*.py") if "Migration" + "Executor(" in path.read_text()}

    assert migrating == {"migrated_apps.py", "test_all_migrations.py"}


def rows_of(statement: str) -> list[Any]:
    with connection.cursor() as cursor:
        cursor.execute(statement)
        return list(cursor.fetchall()) if cursor.description else []


@pytest.mark.django_db
def test_the_trusts_of_an_earlier_version_get_what_new_ones_have() -> None:
    alice, bob = (wallets.create_wallet(name=name, password="a password") for name in ("Alice", "bobby"))
    trusts.open_managed_wallet(actor=alice, name="Sapling")
    for request_type in TrustRequestType.values:
        row = trusts.request_trust(actor=alice, request_type=TrustRequestType(request_type), requestee="bobby")
        if request_type == "yield":
            trusts.decline_trust(actor=bob, trust_id=row.id)
    written = "SELECT * FROM trusts_trust ORDER BY number"
    before = rows_of(written)
    rows_of("SET LOCAL session_replication_role = replica")
    rows_of("UPDATE trusts_trust SET managed_name = NULL, managed_name_key = NULL, managed_has_password = NULL")
    assert rows_of(written) != before

    rows_of(importlib.import_module("trusts.migrations.0004_managed_wallets")._FILL)

    assert rows_of(written) == before
    named = rows_of("SELECT managed_name, managed_name_key, managed_has_password FROM trusts_trust")
    assert {("Sapling", "sapling", False), ("bobby", "bobby", True), ("Alice", "alice", True), (None,) * 3} == set(
        named
    )


@pytest.mark.django_db
def test_the_days_of_an_earlier_version_are_those_that_are_kept_now() -> None:
    """Of transfers that completed at once, those up to the checkpoint; of the others and of issues, all."""
    alice, bob = (wallets.create_wallet(name=name) for name in ("alice", "bobby"))
    trusts.open_managed_wallet(actor=alice, name="sapling")
    transfers.issue_tokens(wallet=alice, count=9)
    transfers.send_bundle(actor=alice, sender="alice", receiver="sapling", size=3)
    for decide, size in ((transfers.accept, 2), (transfers.decline, 1)):
        row = transfers.send_bundle(actor=alice, sender="alice", receiver="bobby", size=size)
        decide(actor=bob, transfer_id=row.id)
    transfers.send_tokens(actor=alice, sender="alice", receiver="sapling", token_ids=[])
    assert counters.roll_up()
    # Since the checkpoint. The version before wrote no time into the differences, so the days do not get these later.
    transfers.send_bundle(actor=alice, sender="alice", receiver="sapling", size=1)
    row = transfers.send_bundle(actor=alice, sender="alice", receiver="bobby", size=1)
    transfers.accept(actor=bob, transfer_id=row.id)
    rows_of("UPDATE transfers_tallydelta SET at = NULL")
    rows_of("DELETE FROM transfers_walletday")

    rows_of(importlib.import_module("transfers.migrations.0009_reports")._FILL)

    days = """SELECT wallet.name, received, sent, issued, lines, first_number IS NULL, first_number = last_number
                FROM transfers_walletday JOIN wallets_wallet AS wallet ON wallet.id = wallet_id ORDER BY 1, day"""
    assert rows_of(days) == [
        ("alice", 0, 6, 9, 4, False, True),
        ("bobby", 3, 0, 0, 2, True, None),
        ("sapling", 3, 0, 0, 1, False, True),
    ]
    assert transfers_audit.audit_findings() == []
    assert counters.roll_up()
    assert transfers_audit.audit_findings() == []


# The newest movement under another id: of partitions, it is in the same one.
_AGAIN: Final = """
    INSERT INTO transfers_movement
    SELECT (jsonb_populate_record(movement, jsonb_build_object('id', id + 1000))).* FROM transfers_movement AS movement
     ORDER BY id DESC LIMIT 1"""


@pytest.mark.django_db
def test_the_movements_are_the_same_in_one_table_and_in_partitions() -> None:
    """And the table can be written after each step: its sequence and its triggers are there."""
    alice = wallets.create_wallet(name="alice")
    trusts.open_managed_wallet(actor=alice, name="sapling")
    transfers.issue_tokens(wallet=alice, count=3)
    transfers.send_bundle(actor=alice, sender="alice", receiver="sapling", size=2)
    module = importlib.import_module("transfers.migrations.0012_partitions")
    written = "SELECT * FROM transfers_movement ORDER BY id"
    before = rows_of(written)
    rows_of("SET CONSTRAINTS ALL IMMEDIATE")
    for number in range(3):
        end = before[-1][0] + 2
        if number == 1:
            rows_of(f"ALTER TABLE transfers_movement ADD CONSTRAINT movement_in_range CHECK (id < {end}) NOT VALID")
            module._partition(rows_of, end)
        else:
            module._unite(rows_of)
        assert rows_of(written)[: len(before)] == before
        # The second is beyond the end of the first partition.
        transfers.issue_tokens(wallet=alice, count=2)
        rows_of("SET CONSTRAINTS ALL IMMEDIATE")
        with pytest.raises(IntegrityError, match="append-only"), transaction.atomic():
            rows_of("DELETE FROM transfers_movement")
        with pytest.raises(IntegrityError, match="movement_once_per_number"), transaction.atomic():
            rows_of(_AGAIN)
        before = rows_of(written)
        parts = rows_of("SELECT DISTINCT tableoid::regclass::text FROM transfers_movement ORDER BY 1")
        assert parts == (
            [("transfers_movement_from_0",), (f"transfers_movement_from_{end}",)] if number == 1
            else [("transfers_movement",)]
        )  # fmt: skip
        assert transfers_audit.audit_findings() == []
