"""
Issues, moves, reserves and releases tokens. Besides it, only the import of a Treetracker database writes them.

Each function is one set-based statement, so a transfer of 1 token and one of 10,000 take the same number of round
trips, and each is atomic even outside a transaction. The statements are in `transfers/sql`; parts that several of
them share are in `transfers/sql/parts`. Rules for changing them:

* A token is a row, not a balance: lock token rows (`FOR NO KEY UPDATE`), never a wallet row.
* A statement that waits for tokens locks them in the order (lot, id). A bundle is first selected without waiting: from
  a random start position, wrapping around once, and without the tokens that other transactions hold. If that finds too
  few, the caller must repeat the selection with `wait` before it refuses: the missing tokens may be held by a
  transfer that fails.
* All or nothing: a transfer is written only if the CTE `guard` finds as many tokens as were asked for (locked ones, or
  for a requested transfer free ones), and a trigger on the transfer compares the count of changed rows.
* Before a statement takes the number of a transfer it takes the advisory lock of
  `event_sequence.ANNOUNCED`, so that readers of events wait for it (`wallets.event_sequence`).
* A change of counts that `transfers.counters` cannot derive from the rows of transfers is inserted into
  `transfers_tallydelta` by the same statement.
* Times and numbers that order a token's history are taken after the token is locked (`clock_timestamp()`, a sequence).
* The right to move tokens is read `FOR SHARE`: the statement either locks the trust until its own transaction commits,
  or no longer sees it.
* Rows are looked up as `id = ANY (array)`: with a join, the planner may choose a nested loop that reads the whole table
  once for each row.
* One plan must serve all values. Wrap a parameter that could change the planner's estimates in a scalar subquery, so
  that PostgreSQL chooses the generic plan: planning each execution takes three times as long as executing.
"""

from collections.abc import Mapping, Sequence
from datetime import datetime, timedelta
from functools import cache
from random import getrandbits
from typing import Any, Final, NamedTuple
from uuid import UUID

import orjson
from django.db import IntegrityError, connection

from transfers.errors import ReferenceTaken
from transfers.link_terms import LinkTerms, OfferedLink
from transfers.queries import CREATED_AT_JSON, EXPIRES_AT_JSON, new_transfer_json
from transfers.states import ActionTokenState, TransferEvent, TransferState
from wallets import restrictions
from wallets.errors import KeyInUse
from wallets.event_sequence import ANNOUNCED
from wallets.models import Wallet
from wallets.queries import HOLDS_KEY, MAY_HOLD_ANSWER, IdempotencyClaim, WalletReference
from wallets.sql_files import load

# The size of `Token.lot`, the random signed integer by which the tokens of a wallet are ordered.
LOT_BITS: Final = 32


def _shuffle_key() -> int:
    return getrandbits(LOT_BITS) - (1 << LOT_BITS - 1)


def _part(name: str) -> str:
    """Return a part that several statements share."""
    return load("transfers", f"parts/{name}")


def _decision(columns: str, *, is_pending_only: bool) -> str:
    """
    Return the SQL that decides on transfers, see the file.

    With `is_pending_only` a transfer waits for its receiver even if it need not: see `restrictions.Restriction`.
    """
    state = TransferState.PENDING if is_pending_only else TransferState.COMPLETED
    return load("transfers", "parts/decision", columns=columns, completed=state.value)


# The columns of the parties that the statements of one transfer and of a batch use behind the decision.
_OF_ONE: Final = "source_id, source_name, destination_id, destination_name"
_OF_MANY: Final = "line, destination_id"
# How a party is looked up, by whether it is given by id.
_IS_PARTY: Final = {True: "{0}.id = %({0}_id)s::uuid", False: "{0}.name_key = %({0}_key)s::text"}
# True if another request with this key is in flight (it holds the lock of the key), or has committed.
_IS_DUPLICATE: Final = f"""(NOT {HOLDS_KEY.format(wallet="me.id")}
    OR EXISTS (SELECT FROM wallets_idempotentanswer
                WHERE wallet_id = me.id AND key = %(key)s::varchar AND {MAY_HOLD_ANSWER}))"""
# The SQL that is added for a request with an idempotency key, and for one without.
_KEYED: Final = {"is_duplicate": _IS_DUPLICATE, "stored": _part("store_result") + ", "}
_UNKEYED: Final = {"is_duplicate": "false::boolean", "stored": " "}
# The same for a transfer with terms, or that may expire, and for one without: its statement has no more than it needs.
_EXPIRY_OF_OPEN: Final = "CASE WHEN state <> 'completed' THEN {} END"
_TERMED: Final = {
    "terms_columns": ", has_terms, expires_at",
    "terms_values": ", %(has_terms)s::boolean, "
    + _EXPIRY_OF_OPEN.format("coalesce(%(expires_at)s::timestamptz, at + %(lifetime)s::interval)"),
    "terms_returned": ", has_terms, expires_at, originator_id, source_id, destination_id",
    "terms_stored": _part("store_terms") + ", ",
    "has_terms": ", transfer.has_terms IS TRUE OR transfer.expires_at IS NOT NULL",
}
_TERMED_BATCH: Final = {
    "references": ", %(references)s::text[]",
    "reference": ", reference",
    "terms_columns": _TERMED["terms_columns"],
    "terms_values": f", nullif(reference <> '', false), {_EXPIRY_OF_OPEN.format('at + %(lifetime)s::interval')}",
    "terms_stored": _part("store_references") + ", ",
}
_TERMLESS_BATCH: Final = dict.fromkeys(_TERMED_BATCH, "")
_TERMLESS: Final = dict.fromkeys(_TERMED, "")
# The terms in the JSON of a transfer that is being written: its row of terms cannot be read yet.
_NEW_TERMS_JSON: Final = f""", ',"reference":' || to_json(nullif(%(reference)s::text, ''))::text,
    ',"metadata":' || %(metadata)s::jsonb::text, ',"expires_at":' || {EXPIRES_AT_JSON}"""


class Decision(NamedTuple):
    """The outcome of a request to move tokens. `number` and `json` are None if nothing was written."""

    # A TransferState; or 'same' (source and destination are one wallet), 'foreign' (the actor controls neither),
    # 'duplicate' (of a request with the same idempotency key); or None if a wallet is missing.
    state: str | None
    source_id: UUID | None
    destination_id: UUID | None
    number: int | None
    # The transfer as `transfers.queries` reads it: written here, it costs no second statement.
    json: str | None
    has_terms: bool = False


class Terms(NamedTuple):
    """
    What a client asks for a transfer: a reference, metadata, and the time at which it expires if it is still open.

    With `is_unique`, the database refuses a second transfer of the same originator with this reference and `is_unique`.
    """

    reference: str = ""
    is_unique: bool = False
    metadata: Mapping[str, str] | None = None
    expires_at: datetime | None = None


class Request(NamedTuple):
    """
    A request to move tokens. `id` becomes that of the transfer; with a `claim` its idempotency key is stored too.

    A transfer that stays open expires at `terms.expires_at`; without that, after `lifetime`; without both, it does not.
    `credential_id` is the credential with which the actor asks: if the source demands an approval, another gives it.
    """

    id: UUID
    actor: Wallet
    source: WalletReference
    destination: WalletReference
    claim: IdempotencyClaim | None = None
    terms: Terms | None = None
    lifetime: timedelta | None = None
    credential_id: UUID | None = None


def send_bundle(*, request: Request, size: int, wait: bool) -> Decision:
    """
    Decide what the actor may do, and write the transfer of `size` tokens that the ledger selects.

    `number` is None if nothing was written. If `state` is then a transfer state, the actor may make the transfer and
    the source has too few free tokens; without `wait`, other transactions may hold them only for the moment.

    :raises wallets.errors.KeyInUse: a request with the same key committed while this statement ran
    """
    select = "select_waiting" if wait else "select_available"
    parameters = orjson.dumps({"bundle": {"bundleSize": size}}).decode()
    arguments = {"size": size, "shuffle_key": _shuffle_key(), "parameters": parameters}
    return _send(request, arguments, select=select, count="count_available")


def send_listed(*, request: Request, token_ids: Sequence[UUID]) -> Decision:
    """
    Decide what the actor may do, and write the transfer of exactly these tokens.

    `number` is None if nothing was written. If `state` is then a transfer state, the actor may make the transfer and
    some tokens are not free in the source.

    :raises wallets.errors.KeyInUse: a request with the same key committed while this statement ran
    """
    parameters = orjson.dumps({"tokens": token_ids}).decode()
    arguments = {"size": len(token_ids), "tokens": list(token_ids), "parameters": parameters}
    return _send(request, arguments, select="select_listed", count="count_listed")


@cache
def _send_statement(
    *, select: str, count: str, by_id: tuple[bool, bool], is_keyed: bool, is_termed: bool, is_pending_only: bool
) -> str:
    parts = {
        "is_source": _IS_PARTY[by_id[0]].format("source"),
        "is_destination": _IS_PARTY[by_id[1]].format("destination"),
        "decision": _decision(_OF_ONE, is_pending_only=is_pending_only),
        "selection": _part(select),
        "count": _part(count),
        "announced": ANNOUNCED,
    }
    json = new_transfer_json(terms=_NEW_TERMS_JSON if is_termed else "")
    parts |= (_KEYED if is_keyed else _UNKEYED) | (_TERMED if is_termed else _TERMLESS)
    return load("transfers", "send", **parts, json=json, created_at_json=CREATED_AT_JSON)


def _send(request: Request, arguments: dict[str, Any], *, select: str, count: str) -> Decision:
    arguments |= {
        "id": request.id,
        "actor": request.actor.pk,
        "actor_name": request.actor.name,
        "source_id": request.source.id,
        "source_key": request.source.name_key,
        "destination_id": request.destination.id,
        "destination_key": request.destination.name_key,
        "credential": request.credential_id,
    }
    if request.claim is not None:
        arguments |= {"key": request.claim.key, "fingerprint": request.claim.fingerprint}
    is_termed = request.terms is not None or request.lifetime is not None
    terms = request.terms or Terms()
    if is_termed:
        arguments |= {
            "reference": terms.reference,
            "unique_reference": terms.is_unique,
            "metadata": orjson.dumps(terms.metadata).decode() if terms.metadata else None,
            "has_terms": True if terms.reference or terms.metadata else None,
            "expires_at": terms.expires_at,
            "lifetime": request.lifetime,
        }
    statement = _send_statement(
        select=select,
        count=count,
        by_id=(request.source.id is not None, request.destination.id is not None),
        is_keyed=request.claim is not None,
        is_termed=is_termed,
        is_pending_only=_is_pending_only(),
    )
    with connection.cursor() as cursor:
        try:
            cursor.execute(statement, arguments)
        except IntegrityError as error:
            if "idempotency_key_is_used_once" in str(error):
                raise KeyInUse from error
            if "terms_reference_is_used_once" in str(error):
                raise ReferenceTaken(terms.reference) from error
            raise
        return Decision(*cursor.fetchone())


def _is_pending_only() -> bool:
    restriction = restrictions.current()
    return restriction is not None and restriction.is_pending_only


def complete_reserved(*, transfer_id: UUID, actor_id: UUID, size: int, event: TransferEvent) -> bool:
    """
    Move the tokens that a pending transfer reserved and close it, by `accept` or `approve`.

    The caller has locked the transfer row and decided on it. Returns False if the reserved tokens are not `size`, which
    should never happen.
    """
    return _complete("select_reserved", transfer_id, actor_id, event, {"size": size})


class Fulfillment(NamedTuple):
    """
    A requested transfer that is being fulfilled, which the caller has locked and decided on.

    If `awaits_approval`, its tokens are reserved until another credential than `credential_id` approves it; otherwise
    they move.
    """

    transfer_id: UUID
    actor_id: UUID
    credential_id: UUID | None
    awaits_approval: bool


def fulfill_listed(*, fulfillment: Fulfillment, token_ids: Sequence[UUID]) -> bool:
    """
    Move exactly these tokens for a requested transfer and close it, or reserve them.

    Returns False, with nothing changed, if some of them are not free in the source.
    """
    return _fulfill("select_listed", fulfillment, {"size": len(token_ids), "tokens": list(token_ids)})


def fulfill_bundle(*, fulfillment: Fulfillment, size: int, wait: bool) -> bool:
    """
    Move `size` tokens that the ledger selects for a requested transfer and close it, or reserve them.

    Returns False, with nothing changed, if the source has too few free tokens; without `wait`, other transactions may
    hold them only for the moment.
    """
    select = "select_waiting" if wait else "select_available"
    return _fulfill(select, fulfillment, {"size": size, "shuffle_key": _shuffle_key()})


def _fulfill(select: str, fulfillment: Fulfillment, arguments: dict[str, Any]) -> bool:
    transfer_id, actor_id, credential_id, awaits_approval = fulfillment
    if not awaits_approval:
        return _complete(select, transfer_id, actor_id, TransferEvent.FULFILL, arguments)
    arguments |= {"id": transfer_id, "actor": actor_id, "credential": credential_id}
    with connection.cursor() as cursor:
        cursor.execute(load("transfers", "hold", selection=_part(select)), arguments)
        return cursor.fetchone() is not None


def _complete(select: str, transfer_id: UUID, actor_id: UUID, event: TransferEvent, arguments: dict[str, Any]) -> bool:
    arguments |= {"id": transfer_id, "actor": actor_id, "event": event.value}
    with connection.cursor() as cursor:
        cursor.execute(load("transfers", "complete", selection=_part(select)), arguments)
        return cursor.fetchone() is not None


def release(*, transfer_id: UUID, actor_id: UUID | None, event: TransferEvent, state: TransferState) -> None:
    """
    Free the tokens that an open transfer reserved, if any, and close it without moving one.

    The caller has locked the transfer row and decided on it. `actor_id` is None if the system closes it.
    """
    arguments = {"id": transfer_id, "actor": actor_id, "event": event.value, "state": state.value}
    with connection.cursor() as cursor:
        cursor.execute(load("transfers", "release"), arguments)


def expire(*, transfer_ids: Sequence[UUID]) -> list[UUID]:
    """
    Free the tokens that open transfers reserved and close these without moving one; return which were closed.

    Those that another transaction has locked, or has closed, are left out. The caller has opened a transaction.
    """
    with connection.cursor() as cursor:
        cursor.execute(load("transfers", "expire", released=_part("released")), {"ids": list(transfer_ids)})
        return [transfer_id for (transfer_id,) in cursor.fetchall()]


def offer_bundle(
    *, terms: LinkTerms, ids: Sequence[UUID], digests: Sequence[bytes], each: int, wait: bool
) -> list[OfferedLink]:
    """
    Create claim links, and reserve for each as many tokens of the sender that the ledger selects; return them by id.

    The caller has decided that the originator may. Returns an empty list, with nothing changed, if the sender has too
    few free tokens; without `wait`, other transactions may hold them only for the moment.
    """
    arguments: dict[str, Any] = {"size": each * len(ids), "each": each, "shuffle_key": _shuffle_key()}
    return _offer("select_waiting" if wait else "select_available", terms, ids, digests, arguments)


def offer_listed(*, terms: LinkTerms, link_id: UUID, digest: bytes, token_ids: Sequence[UUID]) -> list[OfferedLink]:
    """
    Create a claim link that reserves exactly these tokens.

    The caller has decided that the originator may. Returns an empty list, with nothing changed, if some of them are not
    free in the sender.
    """
    arguments: dict[str, Any] = {"size": len(token_ids), "each": len(token_ids), "tokens": list(token_ids)}
    return _offer("select_listed", terms, [link_id], [digest], arguments)


def _offer(
    select: str, terms: LinkTerms, ids: Sequence[UUID], digests: Sequence[bytes], arguments: dict[str, Any]
) -> list[OfferedLink]:
    arguments |= {
        "ids": list(ids),
        "digests": list(digests),
        "actor": terms.originator_id,
        "sender": terms.sender_id,
        "email": terms.recipient_email,
        "must_match": terms.email_must_match,
        "message": terms.message,
        "expires_at": terms.expires_at,
        "lifetime": terms.lifetime,
    }
    with connection.cursor() as cursor:
        cursor.execute(load("transfers", "offer", selection=_part(select)), arguments)
        return [OfferedLink(*row) for row in cursor.fetchall()]


def redeem(*, link_id: UUID, actor_id: UUID, destination_id: UUID, size: int) -> bool:
    """
    Move the tokens that a claim link reserved by a transfer with the id of the link, and close the link.

    The caller has locked the link and decided on it. Returns False if the reserved tokens are not `size`, which should
    never happen.
    """
    statement = load("transfers", "redeem", selection=_part("select_reserved"), announced=ANNOUNCED)
    arguments: dict[str, Any] = {"id": link_id, "actor": actor_id, "destination": destination_id, "size": size}
    with connection.cursor() as cursor:
        cursor.execute(statement, arguments)
        return cursor.fetchone() is not None


def withdraw(*, link_ids: Sequence[UUID], actor_id: UUID | None, state: ActionTokenState) -> list[UUID]:
    """
    Free the tokens of active claim links and close these without moving one; return which were closed.

    Those that another transaction has locked, or has closed, are left out. The caller has opened a transaction.
    `actor_id` is None if the system or an operator closes them.
    """
    with connection.cursor() as cursor:
        cursor.execute(
            load("transfers", "withdraw", released=_part("released")),
            {"ids": list(link_ids), "actor": actor_id, "state": state.value},
        )
        return [link_id for (link_id,) in cursor.fetchall()]


def issue(*, wallet_id: UUID, capture_ids: Sequence[UUID], token_ids: Sequence[UUID] | None = None) -> int:
    """
    Create a token in the wallet for each capture that has none yet, and return the number of tokens created.

    `token_ids`, if given, are the ids of the new tokens, as many as captures; otherwise they are random. Tokens arrive
    in the order of the captures.
    """
    ids = [None] * len(capture_ids) if token_ids is None else list(token_ids)
    with connection.cursor() as cursor:
        cursor.execute(load("transfers", "issue"), {"wallet": wallet_id, "ids": ids, "captures": list(capture_ids)})
        return int(cursor.fetchone()[0])


class BatchDecision(NamedTuple):
    """What the actor may do with one row of a batch. All are None if there is no such destination."""

    destination_id: UUID | None
    state: str | None  # a TransferState, 'same' or 'foreign'
    approval_of: str | None  # an ApprovalOf if it is pending because its own side must approve it


def decide_batch(
    *, actor_id: UUID, source_id: UUID, destinations: Sequence[WalletReference], sizes: Sequence[int]
) -> list[BatchDecision]:
    """
    Decide what the actor may do with each of many bundles from one source, in their order; `sizes` are their tokens.

    The caller has opened a transaction: the trusts that give the right are locked until it ends.
    """
    arguments: dict[str, Any] = {
        "actor": actor_id,
        "source": source_id,
        "ids": [each.id for each in destinations],
        "keys": [each.name_key for each in destinations],
        "sizes": list(sizes),
    }
    with connection.cursor() as cursor:
        cursor.execute(
            load("transfers", "decide_batch", decisions=_decision(_OF_MANY, is_pending_only=_is_pending_only())),
            arguments,
        )
        return [BatchDecision(*row) for row in cursor.fetchall()]


class BatchRow(NamedTuple):
    """One transfer of a batch that has been decided on."""

    id: UUID
    destination_id: UUID
    size: int
    state: TransferState
    approval_of: str | None = None
    reference: str = ""


def send_batch(
    *,
    actor_id: UUID,
    source_id: UUID,
    rows: Sequence[BatchRow],
    wait: bool,
    lifetime: timedelta | None = None,
    credential_id: UUID | None = None,
) -> bool:
    """
    Write the transfers of a batch, each with the tokens that it moves or reserves, or none of them.

    After the `lifetime` those expire that stay open; None: they never do.

    The caller has checked the right to each with `decide_batch` in this transaction; either all rows are `requested` or
    none is. Returns False, with nothing changed, if the source has too few free tokens for all rows together; without
    `wait`, other transactions may hold them only for the moment.
    """
    arguments: dict[str, Any] = {
        "actor": actor_id,
        "source": source_id,
        "ids": [row.id for row in rows],
        "destinations": [row.destination_id for row in rows],
        "sizes": [row.size for row in rows],
        "states": [row.state.value for row in rows],
        "approvals": [row.approval_of for row in rows],
        "credential": credential_id,
        "size": sum(row.size for row in rows),
        "selects": rows[0].state is not TransferState.REQUESTED,
        "shuffle_key": _shuffle_key(),
    }
    select = "select_waiting" if wait else "select_available"
    parts = {"selection": _part(select), "count": _part("count_available"), "announced": ANNOUNCED}
    if lifetime is not None or any(row.reference for row in rows):
        arguments |= {"references": [row.reference for row in rows], "lifetime": lifetime}
        parts |= _TERMED_BATCH
    else:
        parts |= _TERMLESS_BATCH
    with connection.cursor() as cursor:
        cursor.execute(load("transfers", "send_batch", **parts), arguments)
        return bool(cursor.fetchone()[0])
