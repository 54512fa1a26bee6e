"""
The audit names what breaks a rule of the database: every constraint and every trigger of every table.

Rows are planted past the rule: its constraint or index is dropped and triggers are off, in a transaction that is rolled
back. What the database has is read from its catalogue, so a new constraint or trigger without a planted violation
fails here.
"""

import functools
import os
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any
from uuid import uuid4

import pytest
from django.db import connection
from django.utils import timezone

from config.ops import audits
from config.seals import sealing, verifying
from lockers import audit as locker_audit
from lockers.models import Account, LockerTask, ReceiptLine, StatementLine
from tests.support.hidden_tables import hidden, insert
from transfers import action_tokens, approvals, counters, list_counts
from transfers import audit as transfer_audit
from transfers import operations as transfers
from transfers.ledger import Terms
from transfers.models import ActionToken, Movement, Transfer
from transfers.states import TransferState
from trusts import operations as trusts
from trusts import queries as trust_queries
from trusts.states import TrustRequestType
from wallets import audit, operator_log
from wallets import operations as wallets
from wallets.models import Token, Wallet

pytestmark = pytest.mark.django_db

# Values that break each CHECK of the models; columns that are not named get one of `DUMMIES`.
BREAKING = {
    "proposal_is_open_until_decided": {"state": "'open'", "decided_at": "now()"},
    "proposal_is_approved_by_another": {
        "state": "'approved'",
        "decided_by_id": "NULL",
        "decided_at": "now()",
        "given": "NULL",
    },
    "locker_state_is_known": {"state": "'stolen'"},
    "locker_amount_is_positive": {"amount": "0"},
    "locker_is_taken_back_if_it_expires": {"take_back_at": "now()"},
    "locker_returned_at_some_time": {"returned": "1"},
    "task_kind_is_known": {"kind": "'gift'"},
    "task_state_is_known": {"state": "'lost'"},
    "task_step_is_known": {"step": "'dancing'"},
    "task_progress_is_100_only_when_completed": {"state": "'running'", "progress": "100"},
    "task_is_finished_when_final": {"state": "'completed'", "finished_at": "NULL"},
    "task_receipt_is_32_hex": {"receipt_id": "'no'"},
    "export_type_is_known": {"type": "'exe'"},
    "export_has_coins": {"coin_count": "0"},
    "coin_state_is_known": {"state": "'stolen'"},
    "coin_denomination_is_known": {"denomination": "7"},
    "coin_serial_number_fits_32_bits": {"serial_number": "4294967296"},
    "coin_pown_has_25_letters": {"pown": "'p'"},
    "coin_outcome_belongs_to_a_task": {"outcome": "'p'", "task_id": "NULL", "batch": "NULL"},
    "coin_is_spendable_with_13_passes": {"state": "'fracked'", "pown": "'ppppppppppppfffffffffffff'"},
    "coin_in_a_task_is_held": {"state": "'sent'", "task_id": "gen_random_uuid()"},
    "coin_incoming_has_a_task": {"state": "'incoming'", "task_id": "NULL"},
    "coin_of_a_break_has_a_family": {"state": "'change'", "family": "NULL"},
    "coin_locked_has_a_locker": {"state": "'locked'", "locker_id": "NULL"},
    "coin_exported_has_an_export": {"state": "'exported'", "export_id": "NULL"},
    "attempt_has_25_answers": {"answers": "'{1}'"},
    "attempt_covers_25_servers": {"covering": "'p'"},
    "receipt_line_became_something_later": {"state": "'limbo'", "became": "'bank'", "settled_by_id": "NULL"},
    "payment_request_state_is_known": {"state": "'lost'"},
    "payment_request_mode_is_known": {"mode": "'twice'"},
    "payment_request_asks_for_coins": {"amount": "0"},
    "payment_request_state_fits_what_is_paid": {"state": "'open'", "paid": "1"},
    "payment_request_is_closed_when_final": {"state": "'paid'", "closed_at": "NULL"},
    "payment_state_is_known": {"state": "'lost'"},
    "payment_state_fits_its_units": {"state": "'credited'", "units": "0"},
    "account_is_never_overdrawn": {"balance": "-1"},
    "line_type_is_known": {"type": "'Stolen'"},
    "line_changes_the_balance": {"amount": "0"},
    "line_leaves_no_debt": {"running_balance": "-1"},
    "server_is_one_of_25": {"raida": "25"},
    "reading_is_of_one_of_25": {"raida": "-1"},
    "trust_state_known": {"state": "'broken'"},
    "trust_between_two_wallets": {"actor_id": f"'{'0' * 32}'", "target_id": f"'{'0' * 32}'"},
    "trust_withdrawn_fits_state": {"state": "'trusted'", "withdrawn": "true"},
    "trust_knows_the_managed": {"type": "'manage'", "managed_created_at": "NULL"},
    "wallet_has_a_name": {"name": "''"},
    "key_has_scopes_and_wallets": {"scopes": "'{}'"},
    "key_within_its_limits": {"tokens_per_transfer": "0", "tokens_per_day": "NULL"},
    "webhook_is_disabled_by_something": {
        "state": "'enabled'",
        "disabled_by": "'gone'",
        "disabled_at": "now()",
        "previous_secret": "NULL",
        "previous_until": "NULL",
    },
    "webhook_previous_secret_ends": {
        "previous_secret": "NULL",
        "previous_until": "now()",
        "state": "'enabled'",
        "disabled_by": "''",
        "disabled_at": "NULL",
    },
    "delivery_state_is_known": {"state": "'lost'", "lease_until": "NULL"},
    "delivery_is_leased_while_pending": {"state": "'failed'", "lease_until": "now()"},
    "alert_is_acknowledged_by_someone": {"note": "'seen'", "acknowledged_at": "NULL", "acknowledged_by_id": "NULL"},
    "notice_state_is_known": {"state": "'lost'", "lease_until": "NULL"},
    "notice_is_leased_while_pending": {"state": "'failed'", "lease_until": "now()"},
    "fan_out_is_one_row": {"id": "2"},
    "seal_mark_is_one_row": {"id": "2"},
    "event_position_is_one_row": {"id": "2"},
    "audit_run_is_finished_when_final": {"result": "'sound'", "finished_at": "NULL"},
    "action_token_is_closed_when_decided": {"state": "'redeemed'", "closed_at": "NULL"},
    "action_token_has_tokens": {"token_count": "0"},
    "action_token_has_what_must_match": {"email_must_match": "true", "recipient_email": "''"},
    "audit_run_is_unsound_with_findings": {"result": "'unsound'", "findings_count": "0"},
}
# Values with which a row falls under a partial UNIQUE constraint.
WITHIN = {
    "coin_is_held_once": {"state": "'change'"},
    "coin_is_waited_for_once_by_a_wallet": {"state": "'waiting'"},
    "coin_is_in_one_locker_or_file": {"state": "'exported'"},
    "terms_reference_is_used_once": {"unique_reference": "true"},
    "trust_open_once": {"state": "'trusted'"},
    "audit_run_one_at_a_time": {"result": "'running'"},
}
# Some value of each type.
DUMMIES = {
    "uuid": "gen_random_uuid()",
    "character varying": "substr(md5(random()::text), 1, 4)",
    "text": "md5(random()::text)",
    "bytea": "decode(md5(random()::text), 'hex')",
    "boolean": "false",
    "smallint": "1",
    "integer": "(random() * 1e9)::int",
    "bigint": "(random() * 1e9)::int",
    "numeric": "(random() * 1e9)::int",
    "jsonb": "'{}'",
    "date": "now()",
    "interval": "'1 s'",
    "timestamp with time zone": "now()",
    "ARRAY": "'{}'",
}


@functools.cache
def tables() -> Any:
    return {model._meta.db_table: model for model in audits.audited_models()}


def rows(statement: Any, **values: Any) -> Any:
    with connection.cursor() as cursor:
        cursor.execute(statement, values or None)
        return cursor.fetchall() if cursor.description else []


def test_every_table_of_ours_is_audited() -> None:
    theirs = ("auth_", "django_")
    ours = {table for table in connection.introspection.table_names() if not table.startswith(theirs)}

    assert ours - set(tables()) == {"desk_request"}
    assert set(tables()) <= ours


def constraints(kinds: Any) -> Any:
    """Return (table, name, columns) of all constraints of these kinds, as PostgreSQL has them."""
    return rows(
        "SELECT relation.relname, conname, ARRAY(SELECT attname::text FROM unnest(conkey) AS key (number)"
        "         JOIN pg_attribute ON attrelid = conrelid AND attnum = key.number ORDER BY attnum)"
        "  FROM pg_constraint JOIN pg_class AS relation ON relation.oid = conrelid"
        " WHERE relation.relname = ANY(%(tables)s) AND contype = ANY(%(kinds)s) ORDER BY 1, 2",
        tables=list(tables()),
        kinds=list(kinds),
    )


def unique_indexes() -> Any:
    """Return (table, name, columns) of all unique indexes, those behind constraints and primary keys included."""
    return rows(
        "SELECT relation.relname, index.relname, ARRAY(SELECT attname::text FROM unnest(indkey::int[]) AS key (number)"
        "         JOIN pg_attribute ON attrelid = indrelid AND attnum = key.number ORDER BY attnum)"
        "  FROM pg_index JOIN pg_class AS relation ON relation.oid = indrelid"
        "  JOIN pg_class AS index ON index.oid = indexrelid"
        " WHERE relation.relname = ANY(%(tables)s) AND indisunique ORDER BY 1, 2",
        tables=list(tables()),
    )


def types(table: Any) -> Any:
    """Return the type of each column."""
    return dict(
        rows(
            "SELECT column_name, data_type FROM information_schema.columns"
            " WHERE table_schema = 'public' AND table_name = %(table)s",
            table=table,
        )
    )


def plant(table: Any, **values: Any) -> Any:
    """Insert a row with these SQL values, past every constraint of the table, and return its primary key."""
    required = [f.column for f in tables()[table]._meta.local_concrete_fields if not f.null and not f.generated]
    kinds = types(table)
    values = {column: DUMMIES[kinds[column]] for column in required} | values
    key = tables()[table]._meta.pk.column
    ((planted,),) = rows(
        f"INSERT INTO {table} ({', '.join(values)}) OVERRIDING SYSTEM VALUE VALUES ({', '.join(values.values())})"
        f" RETURNING {key}::text"
    )
    return planted


def let_triggers_sleep() -> None:
    """Switch triggers and foreign keys off, in the transaction of the test, as for a careless superuser."""
    rows("SET LOCAL session_replication_role = replica")


def strip(table: Any) -> None:
    """Drop whatever the database enforces of the table's rows, and of those of its partitions."""
    parts = [table, *(name for (name,) in rows(_PARTITIONS, table=table))]
    for statement in _ENFORCED:
        for part in parts:
            for (command,) in rows(statement, table=part):
                rows(command)


_PARTITIONS = "SELECT inhrelid::regclass::text FROM pg_inherits WHERE inhparent = %(table)s::regclass"
_ENFORCED = (
    "SELECT format('ALTER TABLE %%I DROP CONSTRAINT %%I CASCADE', relname, conname) FROM pg_constraint"
    "  JOIN pg_class AS relation ON relation.oid = conrelid"
    " WHERE relname = %(table)s AND contype IN ('c', 'p', 'u')",
    "SELECT format('DROP INDEX %%I', indexrelid::regclass) FROM pg_index"
    " WHERE indrelid = %(table)s::regclass AND indisunique",
    "SELECT format('ALTER TABLE %%I ALTER COLUMN %%I DROP NOT NULL', relname, attname) FROM pg_attribute"
    "  JOIN pg_class AS relation ON relation.oid = attrelid"
    " WHERE relname = %(table)s AND attnotnull AND attnum > 0 AND attidentity = '' AND NOT attisdropped",
)


def double(table: Any, unique: Any, columns: Any) -> Any:
    """Insert two rows that a unique index forbids; return their primary keys in order."""
    meta = tables()[table]._meta
    key = meta.pk.column
    first = plant(table, **WITHIN.get(unique, {}))
    values = {field.column: field.column for field in meta.local_concrete_fields if not field.generated}
    if key not in columns:
        # The same row under another key, unless the key itself is what may not occur twice.
        values[key] = {"UUIDField": "gen_random_uuid()"}.get(meta.pk.get_internal_type(), f"{key} + 1")
    ((second,),) = rows(
        f"INSERT INTO {table} ({', '.join(values)}) OVERRIDING SYSTEM VALUE"
        f" SELECT {', '.join(values.values())} FROM {table} WHERE {key}::text = %(first)s RETURNING {key}::text",
        first=first,
    )
    return sorted((first, second))


def plant_all(table: Any, checks: Any, uniques: Any, required: Any) -> Any:
    """Plant a violation of each constraint of the table; return by its name what the audit must find."""
    meta = tables()[table]._meta
    named = {constraint.name for constraint in meta.constraints}
    references = [field.column for field in meta.local_concrete_fields if field.remote_field]
    expected = {name: (audit.check_name(name), f"{table} {plant(table, **BREAKING[name])}") for name in checks}
    for name, columns in uniques:
        low, high = double(table, name, columns)
        check = audit.check_name(name) if name in named else f"{table}.{columns[0]} is unique"
        expected[name] = (check, f"{table} {low} and {high}")
    for column in references:
        dangling = "gen_random_uuid()" if types(table)[column] == "uuid" else "-99"
        check = f"{table}.{column} refers to a row"
        expected[check] = (check, f"{table} {plant(table, **{column: dangling})}")
    for column in required:
        planted = plant(table, **{column: "NULL"})
        expected[f"{column} is there"] = (f"{table} has what it must have", f"{table} {planted}")

    return {f"{table}: {name}": finding for name, finding in expected.items()}


def test_the_audit_names_what_breaks_a_constraint() -> None:
    checks, uniques, references = constraints("c"), unique_indexes(), constraints("f")
    required = rows(
        "SELECT table_name, column_name FROM information_schema.columns WHERE table_schema = 'public'"
        "   AND table_name = ANY(%(tables)s) AND is_nullable = 'NO' AND is_generated = 'NEVER'",
        tables=list(tables()),
    )
    assert {name for _, name, _ in checks} == set(BREAKING), "each CHECK has a planted violation"
    let_triggers_sleep()
    expected = {}
    for table, model in tables().items():
        strip(table)
        expected |= plant_all(
            table,
            [name for of, name, _ in checks if of == table],
            [(name, columns) for of, name, columns in uniques if of == table],
            [column for of, column in required if of == table and column != model._meta.pk.column],
        )
    for table, _, columns in references:
        assert f"{table}: {table}.{columns[0]} refers to a row" in expected

    found = {(finding.check, re.sub(r": [0-9]+ rows$", "", finding.detail)) for finding in audits.findings()}
    assert {name: finding for name, finding in expected.items() if finding not in found} == {}


APPROVED = "a transfer that needs an approval moves nothing before another credential gave it"
# What each trigger refuses, and the check that finds it.
PAST_TRIGGERS = {
    "action_token_closed_once": (
        "UPDATE transfers_actiontoken SET state = 'cancelled' WHERE state = 'redeemed'",
        "a claim link that was redeemed has its transfer, and no other",
    ),
    "action_token_kept": (
        "DELETE FROM transfers_actiontoken WHERE state = 'active'",
        "a reserved token is in the source of the transfer or claim link that reserves it",
    ),
    "account_kept": ("DELETE FROM lockers_account", "statement adds up to the balance"),
    "auditrun_final": (
        "UPDATE wallets_auditrun SET findings = '[]' WHERE result = 'unsound'",
        "an audit keeps what it found",
    ),
    "issue_append_only": ("DELETE FROM transfers_issue", "as many tokens were issued as there are"),
    "movement_append_only": (
        "DELETE FROM transfers_movement WHERE number = 0",
        "the history of a token has no gap",
    ),
    "movement_issue_or_transfer": (
        "UPDATE transfers_movement SET transfer_number = NULL WHERE number = 1",
        "each movement belongs to a token and to a completed transfer between the same wallets",
    ),
    "receiptline_append_only": (
        "UPDATE lockers_receiptline SET state = 'limbo'",
        "completed put stored what it says",
    ),
    "receiptline_settled_once": (
        "UPDATE lockers_receiptline SET state = 'limbo', became = 'counterfeit', settled_by_id = task_id",
        "completed put stored what it says",
    ),
    "receiptline_kept": ("DELETE FROM lockers_receiptline", "completed put stored what it says"),
    "statementline_append_only": (
        "UPDATE lockers_statementline SET amount = amount - 1",
        "statement adds up to the balance",
    ),
    # Another capture with the same id is not found: the capture is stored nowhere else.
    "terms_append_only": (
        "DELETE FROM transfers_transferterms",
        "a transfer that says so has terms, between its wallets, and no other",
    ),
    "token_identity_fixed": (
        "UPDATE wallets_token SET id = gen_random_uuid() WHERE moves = 1",
        "transfers_movement.token_id refers to a row",
    ),
    "token_kept": ("DELETE FROM wallets_token WHERE moves = 1", "transfers_movement.token_id refers to a row"),
    "token_moves_with_history": (
        "UPDATE wallets_token SET wallet_id = %(bob)s WHERE moves = 0",
        "a token is where its last movement put it",
    ),
    "token_reserved": (
        "UPDATE wallets_token SET transfer_pending_id = gen_random_uuid() WHERE moves = 0",
        "a reserved token is in the source of the transfer or claim link that reserves it",
    ),
    "transfer_all_or_nothing": (
        "UPDATE transfers_transfer SET token_count = 0 WHERE state = 'requested'",
        "a transfer is between two wallets that exist, and is closed when it was decided",
    ),
    "transfer_approval_fixed": (
        "UPDATE transfers_transfer SET approval_asked_by_id = NULL WHERE approval_of IS NOT NULL",
        APPROVED,
    ),
    "transfer_kept": (
        "DELETE FROM transfers_transfer WHERE state = 'completed'",
        "transfers_movement.transfer_number refers to a row",
    ),
    "transfer_terminal": (
        "UPDATE transfers_transfer SET state = 'cancelled', moved_count = 0 WHERE state = 'completed'",
        "a completed transfer moved what was asked, any other nothing",
    ),
    "transfer_terms_fixed": (
        "UPDATE transfers_transfer SET source_id = destination_id, destination_id = source_id"
        " WHERE state = 'completed'",
        "each movement belongs to a token and to a completed transfer between the same wallets",
    ),
    "trust_control_begins": (
        "UPDATE transfers_listtally SET managed = managed - 1 WHERE managed > 0",
        "the counts of lists agree with the transfers and trusts",
    ),
    "trust_control_changes": (
        "UPDATE trusts_trust SET state = 'cancelled_by_target' WHERE type = 'manage' AND state = 'trusted'",
        "the counts of lists agree with the transfers and trusts",
    ),
    "trust_kept": ("DELETE FROM trusts_trust", "trusts_trustchange.trust_id refers to a row"),
    "trust_power_filled": (
        "UPDATE trusts_trust SET holder_id = subject_id, subject_id = holder_id",
        "a trust gives what its kind gives",
    ),
    "trust_power_fixed": (
        "UPDATE trusts_trust SET managed_created_at = now() - interval '1 day' WHERE type = 'manage'",
        "a trust has the columns of the managed wallet",
    ),
    "trust_parties_fixed": (
        "UPDATE trusts_trust SET originator_id = %(bob)s",
        "a trust begins with the request of its originator",
    ),
    "trustchange_append_only": (
        "DELETE FROM trusts_trustchange WHERE event <> ''",
        "a trust is in the state of its last change",
    ),
    "managed_wallet_copied": (
        "UPDATE wallets_wallet SET password = 'x' WHERE password = ''",
        "a trust has the columns of the managed wallet",
    ),
    "wallet_created_once": (
        "UPDATE wallets_wallet SET created_at = now() - interval '1 day'",
        "a trust has the columns of the managed wallet",
    ),
    "wallet_kept": ("DELETE FROM wallets_wallet", "wallets_token.wallet_id refers to a row"),
}
# Of operators, trusts, transfers, lockers, and of the rules of the models.
OF_EACH_PART = ("auditrun_final", "trust_power_filled", "issue_append_only", "account_kept", "wallet_kept")
# One row of a trust or of its changes that breaks a rule by one of its conditions alone.
KIND, BEGINNING, STATE, MANAGED = (
    "a trust gives what its kind gives", "a trust begins with the request of its originator",
    "a trust is in the state of its last change", "a trust has the columns of the managed wallet",
)  # fmt: skip
TRUSTS_BY_ONE_CONDITION = [
    (KIND, "trusts_trust SET type = 'send', managed_created_at = NULL WHERE type = 'manage'"),
    (KIND, "trusts_trust SET holder_id = subject_id WHERE type = 'send'"),
    (KIND, "trusts_trust SET subject_id = holder_id WHERE type = 'send'"),
    (BEGINNING, "trusts_trustchange SET event = 'accept' WHERE event = ''"),
    (BEGINNING, "trusts_trustchange SET actor_id = gen_random_uuid() WHERE event = ''"),
    (STATE, "trusts_trustchange SET state = 'requested' WHERE event = 'accept'"),
    *(
        (MANAGED, f"trusts_trust SET managed_{change} WHERE type = 'manage'")
        for change in (
            "created_at = now() - interval '1 day'", "name = managed_name || 'x'", "name_key = managed_name_key || 'x'",
            "has_password = NOT managed_has_password",
        )
    ),
    (None, "trusts_trust SET managed_name = 'x' WHERE type <> 'manage'"),
    (None, "trusts_trustchange SET actor_id = gen_random_uuid() WHERE event <> ''"),
]  # fmt: skip
# Their contents are stored only once, so nothing shows that a row is missing or changed. Of
# `idempotentanswer_once`: the effects of two answers to one key are sound rows.
UNSEEN = {
    "auditrun_kept", "event_append_only", "event_pseudonymised", "idempotentanswer_once", "operatoraction_append_only",
    "operatoraction_pseudonymised",
    # tests/config/test_seals.py
    "seal_append_only",
}  # fmt: skip


@pytest.fixture
def world() -> Any:
    """A few rows of all that triggers guard."""
    alice, bob = (wallets.create_wallet(name=name, password="correct horse") for name in ("alice", "bobby"))
    transfers.issue_tokens(wallet=alice, count=7)
    sapling = trusts.open_managed_wallet(actor=alice, name="sapling")
    trust = trusts.request_trust(actor=alice, request_type=TrustRequestType.MANAGE, requestee="bobby")
    trusts.decline_trust(actor=bob, trust_id=trust.id)
    # One of each kind in force, each with another wallet.
    for kind in TrustRequestType:
        other = wallets.create_wallet(name=f"in-{kind.value}")
        asked = trusts.request_trust(actor=alice, request_type=kind, requestee=other.name)
        trusts.accept_trust(actor=other, trust_id=asked.id)
    transfers.send_bundle(actor=alice, sender="alice", receiver=sapling.name, size=1)
    for receiver, order in (("bobby", "order 7"), (sapling.name, "order 8")):
        transfers.send_bundle(actor=alice, sender="alice", receiver=receiver, size=1, terms=Terms(order))
    transfers.send_bundle(actor=bob, sender="alice", receiver="bobby", size=1)
    Wallet.objects.filter(pk=alice.pk).update(approval_above=0)
    held = transfers.send_bundle(actor=alice, sender="alice", receiver=sapling.name, size=1, credential_id=uuid4())
    approvals.approve(actor=alice, credential_id=uuid4(), transfer_id=held.id)
    Wallet.objects.filter(pk=alice.pk).update(approval_above=None)
    links = action_tokens.offer_bundles(actor=alice, sender=None, size=1, count=2)
    action_tokens.redeem(actor=bob, code=links[0].code)
    run = operator_log.begin_audit()
    operator_log.finish_audit(run_id=run.pk, findings=[audit.Finding("a check", "a detail")])
    task = LockerTask.objects.create(
        kind="put", wallet=alice, actor=alice, state="completed", step="done", progress=100, receipt_id="0" * 32,
        result={"total_stored": 10**8}, deadline=timezone.now(), finished_at=timezone.now(),
    )  # fmt: skip
    ReceiptLine.objects.create(task=task, denomination=0, serial_number=1, pown="p" * 25, state="locked")
    Account.objects.create(wallet=alice, balance=0, lines=2)
    for number, (kind, amount) in enumerate([("Imported", 10**8), ("PutToLocker", -(10**8))], start=1):
        StatementLine.objects.create(
            wallet=alice,
            number=number,
            task=task,
            type=kind,
            amount=amount,
            running_balance=10**8 if number == 1 else 0,
        )
    assert list_counts.roll_up()
    assert audits.findings() == []
    return {"alice": alice.pk, "bob": bob.pk}


def findings_about(check: str) -> list[audit.Finding]:
    """Return the findings of the part of the audit that has the check; the whole takes ten times as long."""
    table = tables().get(check.partition(".")[0])
    if table is not None:
        return list(audit.broken_rules([table]))
    parts = (operator_log, trust_queries, transfer_audit, locker_audit)
    return [finding for part in parts for finding in part.audit_findings()]


# What the audits of new rows leave to the audit of all: what is missing is not new, and sums over all history.
OF_ALL_ALONE = {
    "account_kept", "auditrun_final", "issue_append_only", "receiptline_kept", "receiptline_settled_once",
    "trust_control_begins",
}  # fmt: skip


def test_an_audit_of_new_rows_names_what_triggers_refuse_of_these(world: Any) -> None:
    """Nothing is sealed here, so all rows are new."""
    assert {model._meta.label_lower for model in audits.audited_models()} >= audits._GROWING
    let_triggers_sleep()
    assert audits.findings(is_of_all=False) == []
    unseen = set()
    for name, (statement, _check) in PAST_TRIGGERS.items():
        point = connection.savepoint()
        rows(statement, **world if "%(" in statement else {})
        found = {finding.check for finding in audits.findings(is_of_all=False)}
        connection.savepoint_rollback(point)
        if not found:
            unseen.add(name)
    assert unseen == OF_ALL_ALONE


def test_the_audit_names_what_triggers_refuse(world: Any) -> None:
    triggers = rows(
        "SELECT DISTINCT tgname FROM pg_trigger JOIN pg_class ON pg_class.oid = tgrelid"
        " WHERE relname = ANY(%(tables)s) AND NOT tgisinternal",
        tables=list(tables()),
    )
    assert {name for (name,) in triggers} == set(PAST_TRIGGERS) | UNSEEN

    let_triggers_sleep()
    unseen = {}
    for name, (statement, check) in PAST_TRIGGERS.items():
        point = connection.savepoint()
        rows(statement, **world if "%(" in statement else {})
        found = {finding.check for finding in findings_about(check)}
        connection.savepoint_rollback(point)
        if check not in found:
            unseen[name] = found
    assert unseen == {}
    wrong = []
    for check, change in TRUSTS_BY_ONE_CONDITION:
        point = connection.savepoint()
        rows(f"UPDATE {change}")
        found = {finding.check for finding in trust_queries.audit_findings()}
        connection.savepoint_rollback(point)
        if found != ({check} if check else set()):
            wrong.append((change, found))
    assert wrong == []
    assert audits.findings() == []
    # The whole audit has all parts: one violation of each.
    point = connection.savepoint()
    for name in OF_EACH_PART:
        rows(PAST_TRIGGERS[name][0])
    found = {finding.check for finding in audits.findings()}
    connection.savepoint_rollback(point)
    assert {PAST_TRIGGERS[name][1] for name in OF_EACH_PART} <= found


def test_an_audit_of_new_rows_proves_what_is_sealed_and_goes_on_from_there(world: Any) -> None:
    assert sealing.seal(is_due=True) == 1
    alice = Wallet.objects.get(pk=world["alice"])
    new = transfers.send_bundle(actor=alice, sender="alice", receiver="sapling", size=1)
    # One that was open when its number was sealed, and a wallet of no new transfer.
    bob = Wallet.objects.get(pk=world["bob"])
    transfers.accept(actor=bob, transfer_id=Transfer.objects.filter(state="pending", destination=bob)[0].pk)
    issued = wallets.create_wallet(name="issued")
    transfers.issue_tokens(wallet=issued, count=1)
    assert audits.findings(is_of_all=False) == []
    let_triggers_sleep()
    for statement, check in (
        ("UPDATE transfers_issue SET tokens = tokens + 1", verifying.ROWS),
        # New rows that do not continue what is sealed.
        (
            f"UPDATE transfers_movement SET source_id = destination_id WHERE transfer_number = {new.number}",
            "each movement starts where and after the one before ended",
        ),
        (
            f"DELETE FROM transfers_movement WHERE transfer_number = {new.number}",
            "a completed transfer moved what was asked, any other nothing",
        ),
        ("UPDATE transfers_tallydelta SET tokens = tokens + 1", TALLIES),
        (f"UPDATE transfers_tallydelta SET tokens = tokens + 1 WHERE wallet_id = '{issued.pk}'", TALLIES),
        ("UPDATE wallets_token SET wallet_id = gen_random_uuid()", "every token is in a wallet that exists"),
    ):
        point = connection.savepoint()
        rows(statement)
        found = {finding.check for finding in audits.findings(is_of_all=False)}
        connection.savepoint_rollback(point)
        assert check in found, statement
    assert sealing.seal(is_due=True) == 1
    assert audits.findings(is_of_all=False) == audits.findings() == []
    # What is new begins after that seal, and what was decided before it is sealed. A span has its last row.
    newest = Transfer.objects.latest("number").number
    rows("UPDATE transfers_transfer SET moved_count = 9 WHERE state = 'completed'")
    for after, upto, expected in ((newest - 1, newest, True), (newest, 2**62, False)):
        spans = transfer_audit.Spans([(after, upto)], [(0, 0)])
        found = {finding.check for finding in transfer_audit.audit_findings(spans)}
        assert ("a completed transfer moved what was asked, any other nothing" in found) is expected


def test_the_new_rows_of_each_kind_are_those_after_its_own_seal() -> None:
    keys = {
        "transfers_transfer": ("number", "transfers"), "transfers_transferterms": ("transfer_id", "transfers"),
        "transfers_movement": ("id", "movements"), "transfers_issue": ("id", "issues"),
        "trusts_trustchange": ("id", "trust_changes"), "lockers_statementline": ("id", "statement_lines"),
    }  # fmt: skip
    sealed = dict(
        zip(("transfers", "movements", "issues", "trust_changes", "statement_lines"), range(1, 6), strict=True)
    )
    with hidden(keys):
        for table, (key, _) in keys.items():
            for number in range(1, 7):
                insert(table, {key.replace("transfer_id", "transfer_number"): number})
        found = {
            model._meta.db_table: sorted(rows.values_list(keys[model._meta.db_table][0], flat=True))
            for model, rows in audits._new_rows(sealed).items()
        }

    assert found == {table: list(range(sealed[kind] + 1, 7)) for table, (_, kind) in keys.items()}


# One row that breaks a check by one of its conditions alone: check, and the statements that make it so.
TRANSFER, MOVEMENT, TOKEN = (
    f"UPDATE {table} SET" for table in ("transfers_transfer", "transfers_movement", "wallets_token")
)
PENDING_OR_NOT = "a pending transfer reserves what was asked, any other nothing"
PARTIES = "a transfer is between two wallets that exist, and is closed when it was decided"
OF_TRANSFERS = "each movement belongs to a token and to a completed transfer between the same wallets"
DAYS = "the days of wallets agree with the transfers and issues"
TERMS = "a transfer that says so has terms, between its wallets, and no other"
MOVED = "SELECT id FROM wallets_token WHERE moves = 1"
LISTS_ANOTHER = """parameters = jsonb_build_object('tokens', jsonb_build_array(gen_random_uuid()))"""
BY_ONE_CONDITION: list[tuple[str, list[str]]] = [
    ("the history of a token has no gap", [f"{MOVEMENT} number = -1 WHERE number = 0 AND token_id IN ({MOVED})"]),
    ("the history of a token has no gap", ["DELETE FROM transfers_movement"]),
    ("the history of a token has no gap", [f"{MOVEMENT} number = 2 WHERE number = 1"]),
    (
        "the history of a token has no gap",
        [f"{MOVEMENT} number = 2 WHERE number = 1", f"{TOKEN} moves = 2 WHERE moves = 1"],
    ),
    *(
        (PARTIES, [f"{TRANSFER} {column} = gen_random_uuid() WHERE state = 'requested'"])
        for column in ("originator_id", "source_id", "destination_id")
    ),
    (PARTIES, [f"{TRANSFER} source_id = destination_id WHERE state = 'requested'"]),
    (PARTIES, [f"{TRANSFER} token_count = -1 WHERE state = 'requested'"]),
    (PARTIES, [f"{TRANSFER} closed_at = NULL WHERE state = 'completed'"]),
    (PARTIES, [f"{TRANSFER} closed_at = now() WHERE state = 'requested'"]),
    (PARTIES, [f"{TRANSFER} state = 'odd' WHERE state = 'completed'"]),
    (PARTIES, [f"{TRANSFER} closed_at = created_at - interval '1 second' WHERE state = 'completed'"]),
    (OF_TRANSFERS, [f"{MOVEMENT} token_id = gen_random_uuid() WHERE number = 1"]),
    (OF_TRANSFERS, [f"{MOVEMENT} transfer_number = (SELECT min(number) FROM transfers_transfer) WHERE number = 0"]),
    (OF_TRANSFERS, [f"{MOVEMENT} transfer_number = -1 WHERE number = 1"]),
    (OF_TRANSFERS, [f"{TRANSFER} state = 'cancelled' WHERE state = 'completed'"]),
    (OF_TRANSFERS, [f"{MOVEMENT} source_id = gen_random_uuid() WHERE number = 1"]),
    (OF_TRANSFERS, [f"{MOVEMENT} destination_id = gen_random_uuid() WHERE number = 1"]),
    (
        "each movement starts where and after the one before ended",
        [f"{MOVEMENT} source_id = gen_random_uuid() WHERE number = 1"],
    ),
    ("each movement starts where and after the one before ended", [f"{MOVEMENT} id = -id WHERE number = 1"]),
    ("a token is where its last movement put it", [f"{TOKEN} moves = 7 WHERE moves = 1"]),
    ("a token is where its last movement put it", [f"{TOKEN} arrival = -arrival WHERE moves = 1"]),
    ("every token is in a wallet that exists", [f"{TOKEN} wallet_id = gen_random_uuid() WHERE moves = 1"]),
    (PENDING_OR_NOT, [f"{TRANSFER} reserved_count = 0 WHERE state = 'pending'"]),
    (
        PENDING_OR_NOT,
        [
            f"{TRANSFER} reserved_count = 0 WHERE state = 'pending'",
            f"{TOKEN} transfer_pending_id = NULL WHERE transfer_pending_id IS NOT NULL",
        ],
    ),
    (PENDING_OR_NOT, [f"{TRANSFER} state = 'completed' WHERE state = 'pending'"]),
    (
        "a completed transfer moved what was asked, any other nothing",
        [f"{TRANSFER} token_count = 5 WHERE state = 'completed'"],
    ),
    ("a completed transfer moved what was asked, any other nothing", ["DELETE FROM transfers_movement"]),
    (
        "a completed transfer of listed tokens moved these",
        [f"{TRANSFER} {LISTS_ANOTHER} WHERE state = 'completed'"],
    ),
    ("a pending transfer of listed tokens reserves these", [f"{TRANSFER} {LISTS_ANOTHER} WHERE state = 'pending'"]),
    (
        "a completed transfer moved what was asked, any other nothing",
        [f"{TRANSFER} moved_count = 5 WHERE state = 'completed'"],
    ),
    (
        "a reserved token is in the source of the transfer or claim link that reserves it",
        [f"{TRANSFER} source_id = gen_random_uuid() WHERE state = 'pending'"],
    ),
    (TERMS, [f"{TRANSFER} has_terms = NULL WHERE has_terms"]),
    *(
        (TERMS, [f"UPDATE transfers_transferterms SET {column} = gen_random_uuid()"])
        for column in ("originator_id", "source_id", "destination_id")
    ),
    ("as many tokens were issued as there are", ["UPDATE transfers_issue SET tokens = tokens + 1"]),
    *(
        (DAYS, [f"UPDATE transfers_walletday SET {change} WHERE {which}"])
        for change, which in (
            ("received = received + 1", "received > 0"),
            ("sent = sent - 1", "sent > 0"),
            ("issued = issued + 1, sent = sent + 1", "issued > 0"),
            ("lines = lines + 1", "true"),
            ("day = day - 1", "true"),
            ("first_number = first_number + 1", "first_number IS NOT NULL"),
            ("last_number = last_number - 1", "first_number IS NOT NULL"),
            ("first_number = NULL, last_number = NULL", "first_number IS NOT NULL"),
        )
    ),
    (DAYS, ["UPDATE transfers_issue SET issued_at = issued_at - interval '1 day'"]),
    (DAYS, [f"{TRANSFER} closed_at = closed_at - interval '1 day' WHERE state = 'completed'"]),
    (
        "an open transfer is closed soon after it expired",
        [f"{TRANSFER} expires_at = now() - interval '16 minutes' WHERE state = 'requested'"],
    ),
]
TALLIES = "the tallies agree with the tokens of each wallet"
LINKS = "an active claim link reserves its tokens, any other nothing"
# Of a wallet that nothing is reserved in, of one with pending transfers, and of one with claim links.
OF_ALICE, OF_BOB = (f"wallet_id = (SELECT id FROM wallets_wallet WHERE name = '{name}')" for name in ("alice", "bobby"))
SOME_WALLET = "(SELECT id FROM wallets_wallet WHERE name = 'bobby')"
BY_ONE_CONDITION += [
    (TALLIES, [f"{TOKEN} transfer_pending_id = gen_random_uuid() WHERE {OF_BOB}"]),
    (TALLIES, [f"{TOKEN} transfer_pending_id = NULL WHERE {OF_ALICE}"]),
    (TALLIES, [f"{TRANSFER} reserved_count = 2 WHERE state = 'pending'"]),
    (TALLIES, [f"{TRANSFER} state = 'cancelled' WHERE state = 'pending'"]),
    (TALLIES, ["UPDATE transfers_actiontoken SET token_count = 2 WHERE state = 'active'"]),
    (TALLIES, ["UPDATE transfers_actiontoken SET state = 'cancelled', closed_at = now() WHERE state = 'active'"]),
    (TALLIES, [f"INSERT INTO transfers_tallydelta (wallet_id, tokens) SELECT {SOME_WALLET}, 1"]),
    (TALLIES, ["UPDATE transfers_tallydelta SET tokens = tokens + 1"]),
    (LINKS, [f"{TOKEN} transfer_pending_id = NULL WHERE {OF_ALICE}"]),
    (TALLIES, [f"{TRANSFER} moved_count = moved_count + 1 WHERE state = 'completed'"]),
    (TALLIES, [f"{TRANSFER} closed_event = 'accept' WHERE state = 'completed'"]),
    (TALLIES, [f"{TRANSFER} state = 'failed' WHERE state = 'completed'"]),
    (TALLIES, [f"DELETE FROM wallets_token WHERE {OF_BOB}"]),
    (TALLIES, [f"{TOKEN} wallet_id = (SELECT id FROM wallets_wallet WHERE name = 'bobby') WHERE moves = 0"]),
]  # fmt: skip
# Beside what is found: these are right.
AND_NOT_BY: list[tuple[str, list[str]]] = [
    (
        "a completed transfer of listed tokens moved these",
        [f"{TRANSFER} {LISTS_ANOTHER} WHERE state <> 'completed'"],
    ),
    ("a pending transfer of listed tokens reserves these", [f"{TRANSFER} {LISTS_ANOTHER} WHERE state <> 'pending'"]),
    (PARTIES, [f"{TRANSFER} token_count = 0, parameters = '{{\"tokens\": []}}' WHERE state = 'requested'"]),
    (
        "an open transfer is closed soon after it expired",
        [
            f"{TRANSFER} expires_at = now() - interval '14 minutes' WHERE state = 'requested'",
            f"{TRANSFER} expires_at = now() - interval '16 minutes' WHERE state = 'completed'",
        ],
    ),
]


APPROVED = "a transfer that needs an approval moves nothing before another credential gave it"
ASKED, OTHER = "approval_asked_by_id = source_id", "gen_random_uuid()"
HELD = f"approval_of = 'send', {ASKED}"
BY_ONE_CONDITION += [
    (APPROVED, [f"{TRANSFER} {change} WHERE {which}"])
    for change, which in (
        (f"approval_of = 'accept', {ASKED}", "state = 'pending'"),
        ("approval_of = 'send', approval_asked_by_id = NULL", "state = 'pending'"),
        (HELD, "state = 'completed' AND approval_of IS NULL"),
        (HELD, "state = 'requested'"),
        (f"{HELD}, approved_at = now()", "state = 'pending'"),
        (f"{HELD}, approved_by_id = source_id", "state = 'pending'"),
        ("approval_asked_with = approved_with", "approval_of IS NOT NULL"),
        (ASKED, "state = 'pending'"),
        (f"approval_asked_with = {OTHER}", "state = 'pending'"),
        ("approved_at = now()", "state = 'pending'"),
        ("approved_by_id = source_id", "state = 'pending'"),
        (f"approved_with = {OTHER}", "state = 'pending'"),
    )
]
AND_NOT_BY += [
    (APPROVED, [f"{TRANSFER} {change} WHERE {which}"])
    for change, which in (
        (HELD, "state = 'pending'"),
        (f"approval_of = 'fulfill', {ASKED}", "state = 'pending'"),
        (f"{HELD}, approved_at = now(), approved_by_id = source_id", "state = 'completed' AND approval_of IS NULL"),
        (
            "state = 'cancelled', approved_at = NULL, approved_by_id = NULL, approved_with = NULL",
            "approval_of = 'send'",
        ),
    )
]
# Detaches the movements below the first one of a token that moved: its issue, and others.
GAP, LAST, IN_ORDER = (
    "the history of a token has no gap", "a token is where its last movement put it",
    "each movement starts where and after the one before ended",
)  # fmt: skip
BELOW = "(SELECT min(id) FROM transfers_movement WHERE number = 1)"
DETACHES = (
    "INSERT INTO transfers_detachedpartition (below, name, movements, last_transfer, newest_at, checksum)"
    f" SELECT {BELOW}, 'old', 1, 5, clock_timestamp(), 0"
)
CUT = f"DELETE FROM transfers_movement WHERE id < {BELOW}"
CREATED_LATER = "UPDATE wallets_token SET created_at = now() + interval '1 hour' WHERE moves = 1"
AND_NOT_BY += [
    (GAP, [DETACHES, CUT]),
    (LAST, [DETACHES, CUT]),
    (IN_ORDER, [DETACHES, CUT]),
]
BY_ONE_CONDITION += [
    (GAP, [CUT]),
    (LAST, [CUT]),
    (IN_ORDER, [CUT]),
    (GAP, [DETACHES, CUT, CREATED_LATER]),
    # A token without any movement that arrived after the detached movements, or with the first one that is attached.
    (GAP, [DETACHES, CUT, f"{TOKEN} arrival = {BELOW} WHERE moves = 0"]),
    (LAST, [DETACHES, CUT, f"{TOKEN} arrival = {BELOW} WHERE moves = 0"]),
]


def found_by(check: str, *, is_of_all: bool = True) -> list[str]:
    parameters: dict[str, Any] = {
        "open": ["requested", "pending"],
        "known": TransferState.values,
        "overdue_minutes": 15,
    }
    if not is_of_all:
        # All rows are new; ids below 0 are those of the statements here.
        every = [(-(2**62), 2**62)]
        parameters |= transfer_audit._bounds(transfer_audit.Spans(every, every))
    return audit.first_rows(transfer_audit.query(check, is_of_all=is_of_all), parameters)


# What an audit says in each case of `BY_ONE_CONDITION`: the condition of the check, the statements, then the texts.
SAID = Path(__file__).with_name("data") / "audit_texts.txt"
_UUID = re.compile(r"[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}")
_TIME = re.compile(r"\d{4}-\d\d-\d\d([ T]\d\d:\d\d:\d\d(\.\d+)?([+-]\d\d(:\d\d)?)?)?")


@pytest.fixture
def numbered_from_a_million(db: None) -> None:
    """Tell the numbers of events and movements from counts, whatever other tests have created."""
    for sequence in ("wallets_event_number", "transfers_arrival"):
        rows(f"SELECT setval('{sequence}', greatest(1000000, (SELECT last_value FROM {sequence})))")


def names_of_rows() -> dict[str, str]:
    """Return what the ids of rows of the ledger are called in `SAID`."""
    named = {str(each.pk): each.name for each in Wallet.objects.all()}
    named |= {str(each.pk): f"<token of {named[str(each.wallet_id)]}>" for each in Token.objects.all()}
    for place, each in enumerate(Transfer.objects.order_by("number"), start=1):
        named |= {str(each.pk): f"<{each.state} transfer>", str(each.number): f"<transfer {place}>"}
    # Which token moves is random.
    for place, movement in enumerate(Movement.objects.order_by("number", "id"), start=1):
        named[str(movement.pk)] = f"<movement {place}>" if movement.number else "<first movement>"
    return named | {str(each.pk): f"<{each.state} link>" for each in ActionToken.objects.all()}


def said(texts: list[str], named: Mapping[str, str]) -> set[str]:
    """Replace what differs from run to run: ids, times and numbers of events and movements."""
    plain = (_TIME.sub("<time>", _UUID.sub(lambda each: named.get(each[0], "<another>"), text)) for text in texts)
    return {re.sub(r"-?\d{6,}", lambda each: named.get(each[0], "<number>"), text) for text in plain}


def test_the_audit_of_transfers_finds_what_breaks_one_condition_alone(
    numbered_from_a_million: None, world: Any
) -> None:
    assert counters.roll_up()
    # What is in no tally yet is compared too.
    alice = Wallet.objects.get(name="alice")
    transfers.issue_tokens(wallet=alice, count=1)
    transfers.send_bundle(actor=alice, sender="alice", receiver="sapling", size=1)
    let_triggers_sleep()
    for table in ("transfers_transfer", "transfers_movement", "wallets_token", "transfers_transferterms"):
        strip(table)
    assert not found_by(TALLIES)
    named, told = names_of_rows(), []

    for expected, cases in ((True, BY_ONE_CONDITION), (False, AND_NOT_BY)):
        wrong = []
        for check, statements in cases:
            point = connection.savepoint()
            for statement in statements:
                rows(statement)
            for is_of_all in (True,) if check in transfer_audit._OF_ALL else (True, False):
                texts = found_by(check, is_of_all=is_of_all)
                if bool(texts) is not expected:
                    wrong.append((check, statements, is_of_all))
                if expected and is_of_all:
                    told += [check, *(f"  {each}" for each in statements)]
                    # Which of the first movements it deletes depends on the tokens that moved, which are random.
                    told += [f"    {each}" for each in sorted(said(texts, named)) if CUT not in statements]
            connection.savepoint_rollback(point)
        assert wrong == []
    if "RECORD" in os.environ:
        SAID.write_text("".join(f"{line}\n" for line in told))
    assert told == SAID.read_text().splitlines(), "With RECORD=1, this test writes the file"
