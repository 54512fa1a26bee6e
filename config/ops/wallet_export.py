"""
The export of everything that is stored about a wallet: NDJSON, read from one snapshot.

Each line is `{"table": …, "row": {…}}`; the last is `{"lines": n, "sha256": …}`: the number of the lines before it and
the SHA-256 of their bytes, line ends included. A file without that line is not complete. Times are in UTC.

`EXPORTED` and `OMITTED` name each model; a test finds one that neither names. Secrets and their digests are left out:
the binary columns of all tables, and what `Section.without` names.
"""

import hashlib
import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any, Final
from uuid import UUID

from django.apps import apps
from django.db import connection, models, transaction

from transfers import partitions
from wallets.operator_log import thing

_ROWS_AT_ONCE: Final = 500


@dataclass(frozen=True, slots=True)
class Section:
    """
    The rows of one table that speak of a wallet: those with at least one of some conditions, SQL about `this`, the
    table. Each is looked up for itself, by its index: with OR, or in the order of the export, all rows may be read.
    `without` names columns.
    """

    conditions: tuple[str, ...]
    without: frozenset[str] = frozenset()


def _of(*columns: str, without: tuple[str, ...] = ()) -> Section:
    return Section(tuple(f"this.{column} = %(wallet)s::uuid" for column in columns), frozenset(without))


def _where(condition: str, *without: str) -> Section:
    return Section((condition,), frozenset(without))


_IDS: Final = "SELECT id FROM {} AS this WHERE {}"
_MINE: Final = "{} = %(wallet)s::uuid"
# Of an index: what a third wallet began.
_IS_BEGUN_APART: Final = (
    "this.originator_id = %(wallet)s::uuid AND NOT this.originator_id = this.source_id"
    " AND NOT this.originator_id = this.destination_id"
)
# Each side of a trust has an index with a condition that always holds.
_SIDES: Final = (
    "this.actor_id = %(wallet)s::uuid AND this.number > 0",
    "this.target_id = %(wallet)s::uuid AND this.number > 0",
    "this.originator_id = %(wallet)s::uuid AND NOT this.originator_id = this.actor_id AND this.number > 0",
)
# The numbers of the transfers of the wallet, each read by an index.
_NUMBERS: Final = "SELECT number FROM transfers_transfer AS this WHERE {}"
_SENT: Final = _NUMBERS.format(_MINE.format("this.source_id"))
_RECEIVED: Final = _NUMBERS.format(_MINE.format("this.destination_id"))
_BEGUN: Final = _NUMBERS.format(_IS_BEGUN_APART)
_TASKS: Final = "SELECT id FROM lockers_lockertask WHERE wallet_id = %(wallet)s::uuid OR actor_id = %(wallet)s::uuid"

_WEBHOOKS: Final = (
    "this.wallet_id = %(wallet)s::uuid",
    "this.owner_id = %(wallet)s::uuid AND NOT this.owner_id = this.wallet_id",
)

EXPORTED: Final[Mapping[str, Section]] = {
    # `name_key` and `written` repeat columns of the row.
    "wallets.Wallet": _of("id", without=("password", "name_key", "written")),
    "wallets.BearerToken": _of("wallet_id", without=("prefix",)),
    "wallets.RestrictedKey": _of("wallet_id", without=("prefix",)),
    "wallets.KnownOrigin": _where("this.kind = 'wallet' AND this.account = %(wallet)s::uuid::text"),
    "wallets.Event": _of("wallet_id"),
    "wallets.IdempotentAnswer": _of("wallet_id"),
    # Which of the operators acted is about them.
    "wallets.OperatorAction": _where("this.things @> ARRAY[%(thing)s]::varchar[]", "staff_id", "confirmation"),
    "wallets.Token": _of("wallet_id"),
    "trusts.Trust": Section(_SIDES, frozenset({"managed_name_key"})),
    "trusts.TrustChange": Section(
        tuple(f"this.trust_id = ANY (ARRAY({_IDS.format('trusts_trust', each)}))" for each in _SIDES)
    ),
    "transfers.Transfer": Section(
        (_MINE.format("this.source_id"), _MINE.format("this.destination_id"), _IS_BEGUN_APART)
    ),
    "transfers.TransferTerms": Section(
        tuple(f"this.transfer_number = ANY (ARRAY({each}))" for each in (_SENT, _RECEIVED, _BEGUN))
    ),
    "transfers.ActionToken": _of("originator_id", "sender_id", "closed_by_id"),
    # Movement 0 of a token is its issue: it is here still, or was sent by a movement 1.
    "transfers.Movement": Section(
        (
            f"this.transfer_number = ANY (ARRAY({_SENT}))",
            f"this.transfer_number = ANY (ARRAY({_RECEIVED}))",
            "this.number = 0 AND this.destination_id = %(wallet)s::uuid AND this.token_id = ANY (ARRAY("  # noqa: S608
            " SELECT id FROM wallets_token WHERE wallet_id = %(wallet)s::uuid UNION ALL"
            f" SELECT token_id FROM transfers_movement WHERE transfer_number = ANY (ARRAY({_SENT}))))",
        )
    ),
    # Which movements no export has: those with a lower id than `below` of the last row.
    "transfers.DetachedPartition": _where("true"),
    "transfers.KnownReceiver": _of("wallet_id", "receiver_id"),
    "transfers.ApprovalChange": _of("wallet_id", "asked_by_id"),
    "transfers.Issue": _of("wallet_id"),
    "lockers.Locker": _of("wallet_id"),
    "lockers.LockerTask": _of("wallet_id", "actor_id"),
    "lockers.Export": _of("wallet_id"),
    "lockers.Coin": _of("wallet_id"),
    "lockers.ReceiptLine": _where(f"this.task_id = ANY (ARRAY({_TASKS}))"),
    "lockers.PaymentRequest": _of("wallet_id", "actor_id"),
    "lockers.Payment": Section(
        (
            "this.payer_id = %(wallet)s::uuid",
            "this.request_id = ANY (ARRAY(SELECT id FROM lockers_paymentrequest WHERE wallet_id = %(wallet)s::uuid))",
        )
    ),
    "lockers.Account": _of("wallet_id"),
    "lockers.StatementLine": _of("wallet_id", "other_wallet_id"),
    "webhooks.Webhook": Section(_WEBHOOKS),
    "webhooks.WebhookDelivery": Section(
        tuple(f"this.webhook_id = ANY (ARRAY({_IDS.format('webhooks_webhook', each)}))" for each in _WEBHOOKS)
    ),
    "desk.Request": _of("wallet_id", without=("user_id",)),
    # What an import of another installation read; its copies hold the digest of a password.
    "treetracker_import.ImportedRow": _where(
        "this.kind = 'wallet' AND this.source_id = %(wallet)s::uuid", "source", "written"
    ),
}

_OPERATORS: Final = "about an operator of the admin"
_COUNTS: Final = "a count that is derived from exported rows"
_INSTALLATION: Final = "about the installation"
OMITTED: Final[Mapping[str, str]] = {
    "wallets.ApiKey": "about an application, not about a wallet",
    "wallets.AuditRun": _INSTALLATION,
    "wallets.EventPosition": _INSTALLATION,
    "transfers.TokenTally": _COUNTS,
    "transfers.TallyDelta": _COUNTS,
    "transfers.TallyMark": _COUNTS,
    "transfers.ListTally": _COUNTS,
    "transfers.ListMark": _COUNTS,
    "transfers.ControlChange": "a change of control that is not counted yet; the trust is exported",
    "transfers.OutcomeTally": _COUNTS,
    "transfers.DayTally": _COUNTS,
    "transfers.WalletDay": _COUNTS,
    "transfers.ListSpan": _COUNTS,
    "transfers.Seal": "hashes of exported rows",
    "transfers.LateTransfer": "in which seals a transfer is; the transfer is exported",
    "transfers.SealMark": _INSTALLATION,
    "lockers.Attempt": "which servers were asked for a task; the task and its receipt are exported",
    "lockers.Turn": "when a worker last served the wallet",
    "lockers.Upload": "the encrypted file of a task, deleted when the task ends; its coins are exported",
    "lockers.ServerHealth": _INSTALLATION,
    "lockers.ServerReading": _INSTALLATION,
    "webhooks.WebhookMessage": "a copy of an exported event",
    "webhooks.FanOut": _INSTALLATION,
    "treetracker_import.ImportRun": _INSTALLATION,
    "desk.Session": _OPERATORS,
    "desk.SecondFactor": _OPERATORS,
    "desk.RecoveryCode": _OPERATORS,
    "desk.Identity": _OPERATORS,
    "desk.Proposal": "a proposed action of operators; what was done is exported from their log",
    "desk.Alert": _INSTALLATION,
    "desk.AlertNotice": _INSTALLATION,
    "desk.Backup": _INSTALLATION,
    "desk.FormerName": "the former name of a pseudonymised wallet, until it is erased minutes later",
}


def columns(model: type[models.Model], section: Section) -> list[str]:
    """Return the exported columns of a model: all but the binary ones, which hold digests and what is encrypted."""
    return [
        str(field.column)
        for field in model._meta.concrete_fields
        if not isinstance(field, models.BinaryField) and field.column not in section.without
    ]


def _statement(label: str, section: Section) -> str:
    model = apps.get_model(label)
    table, key = model._meta.db_table, model._meta.pk.column
    names = ", ".join(f"this.{name}" for name in columns(model, section))
    if len(section.conditions) == 1:
        return (
            f"SELECT row_to_json(row)::text FROM (SELECT * FROM (SELECT {names} FROM {table} AS this"  # noqa: S608
            f" WHERE {section.conditions[0]} OFFSET 0) AS found ORDER BY {key}) AS row"
        )
    keys = " UNION ".join(
        f"(SELECT this.{key} AS key FROM {table} AS this WHERE {condition} OFFSET 0)"  # noqa: S608 - constants
        for condition in section.conditions
    )
    return (
        f"SELECT row_to_json(row)::text FROM (SELECT found.* FROM ({keys}) AS mine"  # noqa: S608 - constants
        f" CROSS JOIN LATERAL (SELECT {names} FROM {table} AS this WHERE this.{key} = mine.key OFFSET 0) AS found"
        " ORDER BY mine.key) AS row"
    )


def lines(*, wallet_id: UUID, is_patient: bool = False) -> Iterator[str]:
    """
    Yield the lines of the export of a wallet, each with its line end, in bounded memory.

    All rows are of one snapshot. Inside a transaction of the caller, they are of that transaction. `is_patient` lifts
    the time limits of the session: a wallet with millions of movements is read for longer, and a reader may pause.
    """
    digest, count = hashlib.sha256(), 0
    for line in _rows(wallet_id, is_patient=is_patient):
        digest.update(line.encode())
        count += 1
        yield line
    yield json.dumps({"lines": count, "sha256": digest.hexdigest()}) + "\n"


def _rows(wallet_id: UUID, *, is_patient: bool) -> Iterator[str]:
    arguments: dict[str, Any] = {"wallet": wallet_id, "thing": thing("wallet", wallet_id)}
    is_alone = not connection.in_atomic_block
    with transaction.atomic():
        with connection.cursor() as cursor:
            if is_alone:
                cursor.execute("SET TRANSACTION ISOLATION LEVEL REPEATABLE READ, READ ONLY")
                partitions.keep()
            cursor.execute("SET LOCAL TIME ZONE 'UTC'")
            if is_patient:
                cursor.execute("SET LOCAL statement_timeout = 0")
                cursor.execute("SET LOCAL idle_in_transaction_session_timeout = 0")
        for label, section in EXPORTED.items():
            with connection.chunked_cursor() as cursor:
                cursor.execute(_statement(label, section), arguments)
                while rows := cursor.fetchmany(_ROWS_AT_ONCE):
                    for (row,) in rows:
                        yield f'{{"table":"{label}","row":{row}}}\n'
