"""
Large tables: 20,000 rows of each kind, of many wallets, half of them of one wallet.

Nothing else about the rows is as the product writes them: only what statements look for.
"""

import hashlib
from typing import Any, Final
from uuid import UUID

from django.db import connection

from config.admin.models import Alert, AlertNotice, Proposal, Request
from config.ops import partitions, request_log
from config.treetracker_import.models import ImportedRow
from tests.support.statement_plans import fill, uuid_of
from transfers.models import ActionToken, Issue, KnownReceiver, Movement, Transfer, TransferTerms
from trusts.models import Trust, TrustChange
from wallets.models import (
    AuditRun,
    BearerToken,
    Event,
    IdempotentAnswer,
    KnownOrigin,
    OperatorAction,
    RestrictedKey,
    Token,
    Wallet,
)
from webhooks.models import FanOut, Webhook, WebhookDelivery, WebhookMessage

ROWS: Final = 20_000
# Half of the rows are of wallet 1, the others of one wallet each, with an odd number.
_WALLET: Final = f"CASE WHEN n % 2 = 0 THEN md5('1 1')::uuid ELSE {uuid_of(1)} END"
_OTHER: Final = f"CASE WHEN n % 2 = 1 THEN md5('1 1')::uuid ELSE {uuid_of(1)} END"
# Never the same as _WALLET.
_APART: Final = "CASE WHEN n % 2 = 1 AND n > 1 THEN md5('1 1')::uuid ELSE md5('1 ' || n + 2)::uuid END"
_AT: Final = "now() - n * interval '1 second'"
_TABLES: list[str] = []


def _fill(model: Any, count: int = ROWS, **columns: str) -> None:
    fill(model, count, **columns)
    _TABLES.append(model._meta.db_table)


def write(*names: str) -> None:
    """Write the rows of some parts, and let PostgreSQL count them."""
    _TABLES.clear()
    for name in names:
        _PARTS[name]()
    with connection.cursor() as cursor:
        cursor.execute(
            f"SELECT setval('wallets_event_number', {2 * ROWS}), setval('trusts_trust_number', {ROWS}),"
            f" setval(pg_get_serial_sequence('trusts_trustchange', 'id'), {2 * ROWS})"
        )
        cursor.execute(f"VACUUM ANALYZE {', '.join(_TABLES)}")


def wallet(number: int = 1) -> Wallet:
    """Return a wallet: 1 has half of all rows, another with an odd number few."""
    return Wallet.objects.get(pk=id_of(1, number))


def id_of(kind: int, number: int) -> UUID:
    """Return the id of row `number`, as `uuid_of` writes it."""
    return UUID(hashlib.md5(f"{kind} {number}".encode(), usedforsecurity=False).hexdigest())


def _wallets() -> None:
    _fill(Wallet, id=uuid_of(1), name="'wallet-' || n", name_key="'wallet-' || n", created_at=_AT)
    _fill(
        BearerToken, id=uuid_of(11), wallet_id=_WALLET, digest="decode(md5('b' || n), 'hex')",
        created_at=_AT, expires_at="now() + interval '1 day'",
    )  # fmt: skip
    _fill(
        RestrictedKey, id=uuid_of(12), wallet_id=_WALLET, digest="decode(md5('r' || n), 'hex')", name="'key ' || n",
        scopes="'{wallets:read}'", wallet_ids=f"ARRAY[{_WALLET}]", created_at=_AT,
    )  # fmt: skip
    _fill(KnownOrigin, kind="'wallet'", account=f"({uuid_of(1)})::text")
    # Numbers of events and transfers are of one sequence.
    _fill(Event, id=uuid_of(5), wallet_id=_WALLET, type="'login'", number="2 * n + 1", created_at=_AT)
    _fill(IdempotentAnswer, wallet_id=_WALLET, key="'key ' || n")
    _fill(
        OperatorAction, object_kind="'wallet'", object_id=f"({_WALLET})::text",
        things=f"ARRAY['wallet:' || ({_WALLET})::text]", created_at=_AT,
    )  # fmt: skip
    _fill(AuditRun, findings_count="0", result="'sound'", started_at=_AT, finished_at=_AT)
    _fill(Token, id=uuid_of(6), wallet_id=_WALLET)
    _fill(
        Trust, id=uuid_of(7), number="n + 1", actor_id=_WALLET, target_id=_APART, originator_id=_WALLET,
        type="'send'", request_type="'send'", state="'trusted'",
    )  # fmt: skip
    _fill(TrustChange, trust_id=uuid_of(7))


def _webhooks() -> None:
    _fill(
        Webhook,
        id=uuid_of(2),
        wallet_id=uuid_of(1),
        owner_id=uuid_of(1),
        url="'http://127.0.0.1:9/'",
        secret="'x'",
        after_number="0",
        state="CASE WHEN n % 10 = 9 THEN 'disabled' ELSE 'enabled' END",
        disabled_by="CASE WHEN n % 10 = 9 THEN 'request' ELSE '' END",
        disabled_at="CASE WHEN n % 10 = 9 THEN now() - interval '20 days' END",
    )
    _fill(WebhookMessage, id=uuid_of(3), type="'login'", body="'{}'")
    # Few are pending.
    _fill(
        WebhookDelivery,
        id=uuid_of(4),
        webhook_id=f"CASE WHEN n % 2 = 0 THEN md5('2 1')::uuid ELSE {uuid_of(2)} END",
        message_id=uuid_of(3),
        state="CASE WHEN n % 200 IN (0, 1) THEN 'pending' ELSE 'delivered' END",
        created_at=_AT,
        due_at=_AT,
    )
    _fill(FanOut, 1, id="1", number=str(2 * ROWS - 400))


def _transfers() -> None:
    _fill(
        Transfer, id=uuid_of(8), number="2 * n + 2", source_id=_WALLET, destination_id=_OTHER, originator_id=_WALLET,
        state="'completed'", created_at=_AT, closed_at=_AT,
    )  # fmt: skip
    _fill(Movement, 2 * ROWS, id="n + 1", token_id=uuid_of(6), transfer_number="2 * (n / 2) + 2", destination_id=_OTHER)
    _fill(TransferTerms, transfer_number="2 * n + 2", reference="'invoice ' || n")
    _fill(
        ActionToken,
        id=uuid_of(9),
        token_count="1",
        expires_at="now() + interval '1 day'",
        sender_id=_WALLET,
        originator_id=_WALLET,
    )
    _fill(KnownReceiver, wallet_id=_WALLET, receiver_id=_OTHER)
    _fill(Issue, id="n + 1", wallet_id=_WALLET)


def _desk() -> None:
    request_log.create_partitions([partitions.today()])
    with connection.cursor() as cursor:
        cursor.execute("SELECT (extract(epoch FROM now()) * 1000000)::bigint << 10")
        now = cursor.fetchone()[0]
    _fill(Request, id=f"{now} - n", wallet_id=_WALLET)
    _fill(Alert, id=uuid_of(10), kind="'replica'", subject="'' || n", closed_at="now()")
    _fill(AlertNotice, alert_id=uuid_of(10), number="1", state="'sent'")
    _fill(Proposal, object_id=f"({_WALLET})::text", state="'done'", decided_at=_AT)
    _fill(ImportedRow, kind="'wallet'", source_id=uuid_of(1))


_PARTS: Final = {"wallets": _wallets, "webhooks": _webhooks, "transfers": _transfers, "desk": _desk}
