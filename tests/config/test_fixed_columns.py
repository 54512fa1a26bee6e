"""
What the database keeps as it was written: each column of each table that a trigger guards, one by one.

A column that is left out of a trigger's list, or a trigger that guards updates and not deletions, fails here.
"""

from collections.abc import Iterator
from datetime import timedelta
from typing import Any, Final

import pytest
from django.apps import apps
from django.db import IntegrityError, connection, transaction
from django.utils import timezone

from config.ops import audits
from config.seals import sealing
from tests.api.caller import logged_in
from tests.support.databases import shared_rows
from transfers import action_tokens
from transfers import operations as transfers
from transfers.ledger import Terms
from trusts import operations as trusts
from trusts.states import TrustRequestType
from wallets import operations as wallets
from wallets.models import AuditRun
from wallets.states import AuditResult

pytestmark = pytest.mark.django_db

ANOTHER: Final = {
    "uuid": "gen_random_uuid()",
    "character varying": "'y'",
    "bytea": "sha256({column})",
    "boolean": "NOT {column}",
    "smallint": "{column} + 1",
    "integer": "{column} + 1",
    "bigint": "{column} + 1000000",
    "jsonb": """'{{"bundle": {{"bundleSize": 2}}}}'""",
    "timestamp with time zone": "coalesce({column}, now()) - interval '1 day'",
}


def execute(statement: Any) -> int:
    with connection.cursor() as cursor:
        cursor.execute(statement)
        return int(cursor.rowcount)


def columns(table: str) -> dict[str, str]:
    """Return the type of each column that is written, in order."""
    with connection.cursor() as cursor:
        cursor.execute(
            "SELECT column_name, data_type FROM information_schema.columns WHERE table_schema = 'public'"
            " AND table_name = %s AND is_generated = 'NEVER' ORDER BY ordinal_position",
            [table],
        )
        return dict(cursor.fetchall())


def refusal(statement: str) -> str:
    """Return the first line of what the database says against the statement, or "" if it changes a row."""
    try:
        with transaction.atomic():
            assert execute(statement) > 0, statement
            transaction.set_rollback(True)
    except IntegrityError as error:
        return str(error).splitlines()[0]
    return ""


def refused(table: str, *, where: str = "true", also: str = "") -> dict[str, str]:
    """Return for each column why it cannot take another value in the rows; `also` are changes made beside it."""
    found = {}
    for column, kind in columns(table).items():
        change = f"{column} = {ANOTHER[kind].format(column=column)}"
        if column not in also.replace("=", " ").split():
            found[column] = refusal(f"UPDATE {table} SET {change}{also} WHERE {where}")
    return found


@pytest.fixture(scope="module")
def world(django_db_setup: None, django_db_blocker: Any) -> Iterator[None]:
    """A row of each guarded table. Both trusts are open, the transfer is pending."""
    with shared_rows(django_db_blocker):
        write_rows()
        yield


def write_rows() -> None:
    alice = logged_in("alice", wallets.create_api_key(name="partner")[1]).wallet
    bob = wallets.create_wallet(name="bobby")
    transfers.issue_tokens(wallet=alice, count=4)
    action_tokens.offer_bundles(actor=alice, sender=None, size=1)
    trusts.open_managed_wallet(actor=alice, name="sapling")
    trusts.request_trust(actor=alice, request_type=TrustRequestType.SEND, requestee=bob.name)
    transfers.send_bundle(actor=alice, sender="alice", receiver="sapling", size=1)
    terms = Terms("order 7", metadata={"a": "b"}, expires_at=timezone.now() + timedelta(days=1))
    transfers.send_bundle(actor=alice, sender="alice", receiver="bobby", size=1, terms=terms)
    sealing.seal(is_due=True)
    assert audits.findings() == []


def says(table: str, why: str) -> str:
    return f"UPDATE of {table} is refused: {why}"


def test_the_terms_of_a_transfer_are_fixed_while_it_is_closed(world: Any) -> None:
    closing = ", state = 'cancelled', reserved_count = 0, closed_at = now()"
    fixed = says("transfers_transfer", "parties, size, parameters and terms of a transfer cannot change")
    terms = {
        "id", "number", "originator_id", "source_id", "destination_id", "parameters", "token_count", "created_at",
        "expires_at", "has_terms",
    }  # fmt: skip

    approvals = {
        "approval_of", "approval_asked_by_id", "approval_asked_with", "approved_by_id", "approved_with", "approved_at",
    }  # fmt: skip

    found = refused("transfers_transfer", where="state = 'pending'", also=closing)

    approved = says("transfers_transfer", "what awaits an approval is fixed, and is approved once")
    # A check of the whole row comes first: this one names no wallet that asked for the approval.
    assert found["approval_of"] == "a transfer that needs an approval completes after another credential gave it"
    assert {column for column, why in found.items() if why == approved} == approvals - {"approval_of"}
    found = {column: why for column, why in found.items() if column not in approvals}

    assert {column for column, why in found.items() if why == fixed} == terms
    assert {column for column, why in found.items() if not why} == {"closed_event", "closed_from", "closed_by_id"}
    assert set(found) == {*terms, "closed_event", "closed_from", "closed_by_id", "moved_count"}


def test_only_the_closing_of_a_claim_link_changes(world: Any) -> None:
    closing = ", state = 'expired', closed_at = now()"
    fixed = says("transfers_actiontoken", "an active claim link is closed once, and nothing else of a link changes")

    found = refused("transfers_actiontoken", where="state = 'active'", also=closing)

    assert {column for column, why in found.items() if why != fixed} == {"closed_by_id"}


def test_what_a_token_stands_for_is_fixed(world: Any) -> None:
    found = refused("wallets_token", where="transfer_pending_id IS NULL AND moves = 0")

    identity = says("wallets_token", "id, capture_id, lot and created_at of a token cannot change")
    history = "a token changes its wallet only with its next number and a later arrival"
    assert "a token is reserved by a transfer or a claim link" in found.pop("transfer_pending_id")
    assert found == {
        "id": identity,
        "capture_id": identity,
        "wallet_id": history,
        "moves": history,
        "arrival": history,
        "lot": identity,
        "claim": "",
        "created_at": identity,
        "updated_at": "",
    }


@pytest.mark.parametrize("state", ["trusted", "requested"])
def test_only_the_state_of_a_trust_changes(world: Any, state: str) -> None:
    found = refused("trusts_trust", where=f"state = '{state}'")

    fixed = says("trusts_trust", "only the state of a trust changes")
    # Those follow the managed wallet.
    copied = {"managed_name", "managed_name_key", "managed_has_password"}
    assert {column for column, why in found.items() if why != fixed} == {"state", "withdrawn", "updated_at"} | copied
    assert found["updated_at"] == ""


def test_a_wallet_is_created_once(world: Any) -> None:
    found = refused("wallets_wallet", where="name = 'bobby'")

    assert found["created_at"] == says("wallets_wallet", "a wallet is created once")
    assert {column for column, why in found.items() if "is refused" in why} == {"created_at"}


@pytest.mark.parametrize(
    ("table", "why"),
    [
        ("transfers_movement", "transfers_movement is append-only"),
        ("transfers_issue", "transfers_issue is append-only"),
        ("transfers_seal", "transfers_seal is append-only"),
        ("transfers_transferterms", "transfers_transferterms is append-only"),
        ("trusts_trustchange", "changes are only appended"),
        ("wallets_event", "events are only appended"),
    ],
)
def test_what_is_only_appended_is_neither_changed_nor_deleted(world: Any, table: str, why: str) -> None:
    # The rows of a partitioned table are in its partitions.
    parts = {"transfers_movement": "transfers_movement_from_0", "wallets_event": "wallets_event_default"}
    place = parts.get(table, table)
    assert set(refused(table).values()) == {says(place, why)}
    assert refusal(f"DELETE FROM {table}") == f"DELETE of {place} is refused: {why}"
    key = next(iter(columns(table)))
    assert refusal(f"UPDATE {table} SET {key} = {key}") == says(place, why), "even to what it is"


@pytest.mark.parametrize(
    ("table", "why"),
    [
        ("wallets_wallet", "transfers and history name wallets for ever"),
        ("wallets_token", "a token cannot be deleted: the history refers to it"),
        ("transfers_transfer", "a transfer is closed, never deleted"),
        ("trusts_trust", "a trust is cancelled, never deleted"),
    ],
)
def test_what_is_kept_is_not_deleted(world: Any, table: str, why: str) -> None:
    with connection.cursor() as cursor:
        cursor.execute(f"SELECT id FROM {table}")
        rows = [row[0] for row in cursor.fetchall()]

    assert len(rows) > 1
    for row_id in rows:
        assert refusal(f"DELETE FROM {table} WHERE id = '{row_id}'") == f"DELETE of {table} is refused: {why}"


@pytest.mark.parametrize("result", AuditResult.values)
def test_an_audit_that_ended_never_changes_and_what_it_found_is_kept(result: str) -> None:
    is_running = result == AuditResult.RUNNING
    run = AuditRun.objects.create(
        result=result,
        findings_count=int(result == AuditResult.UNSOUND),
        finished_at=None if is_running else timezone.now(),
    )
    final = says("wallets_auditrun", "an audit that ended never changes")
    kept = "DELETE of wallets_auditrun is refused: what an audit found is kept"

    for column in ("findings", "error", "request_id", "started_at"):
        assert refusal(f"UPDATE wallets_auditrun SET {column} = {column}") == ("" if is_running else final), column
    is_kept = result in {AuditResult.RUNNING, AuditResult.UNSOUND}
    assert refusal(f"DELETE FROM wallets_auditrun WHERE id = {run.pk}") == (kept if is_kept else "")


def test_every_table_of_the_ledger_is_tried_or_may_change() -> None:
    guarded = {
        model._meta.db_table
        for label in ("wallets", "trusts", "transfers")
        for model in apps.get_app_config(label).get_models()
    }
    with connection.cursor() as cursor:
        cursor.execute(
            "SELECT DISTINCT relname FROM pg_trigger JOIN pg_class ON pg_class.oid = tgrelid"
            " WHERE NOT tgisinternal AND relname = ANY(%s)",
            [list(guarded)],
        )
        with_triggers = {row[0] for row in cursor.fetchall()}

    assert with_triggers == {
        "transfers_actiontoken", "transfers_issue", "transfers_movement", "transfers_seal", "transfers_transfer",
        "transfers_transferterms", "trusts_trust", "trusts_trustchange",
        "wallets_auditrun", "wallets_event", "wallets_idempotentanswer", "wallets_operatoraction", "wallets_token",
        "wallets_wallet",
    }  # fmt: skip
