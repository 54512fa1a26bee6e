"""
The only module that changes who holds or reserves a token.

Each function is one set-based statement, so a transfer of 1 token and one of 10,000 cost the same number of
round trips, and each is atomic even if no transaction is open around it. The rules, for who changes this:

* A token is a row, not a balance: token rows are locked, never a wallet row, always `FOR NO KEY UPDATE`.
* Whoever waits for tokens does so in the order (lot, id). A bundle is drawn from a random lot on, goes round once,
  and skips what others hold, so it never waits; if that leaves too few it must be drawn again `patiently`, in order
  and waiting, before anybody is refused: the tokens missing may only be held by a transfer that fails.
* The statement changes all the tokens that were asked or none: what changes is gated by the count of rows locked,
  and a constraint of the transfer row compares what was counted again after the change.
* Whoever draws the number of a transfer announces it first (`wallets.event_sequence`), for those who follow events.
* What `transfers.counters` cannot read from the transfer itself is written down as a difference in the same statement.
* Times and numbers that order a token's history are taken after the token is locked (`clock_timestamp()`, a sequence).
* The right to move tokens is read with `FOR SHARE`: a trust that is being ended is either in force until this
  transfer is committed or not seen at all.
"""

from collections.abc import Sequence
from datetime import datetime
from functools import cache
from random import randint
from typing import Any, Final, NamedTuple
from uuid import UUID

import orjson
from django.db import IntegrityError, connection

from transfers import queries
from transfers.states import TransferEvent, TransferState
from wallets import event_sequence
from wallets.errors import KeyInUse
from wallets.models import Wallet
from wallets.queries import (
    HOLDS_KEY,
    CachedCredentials,
    IdempotencyClaim,
    WalletReference,
    acting,
    proving,
    written_time,
)

LOTS: Final = (-(2**31), 2**31 - 1)


class Verdict(NamedTuple):
    """What became of a wish to move tokens. `number` and `at` are None if nothing was written."""

    state: str | None  # a TransferState, 'same', 'foreign', or 'twin': a request has the same key
    source_id: UUID | None
    source_name: str | None
    destination_id: UUID | None
    destination_name: str | None
    number: int | None
    at: datetime | None


# Who takes part, and which power the actor has over them. A wallet is given by id or by the key of its name. If there
# is no actor, because a proof has ended, there is no power, and the verdict is a refusal.
_VERDICT = """
parties AS MATERIALIZED (
    SELECT me.id AS actor_id, source.id AS source_id, source.name AS source_name,
           destination.id AS destination_id, destination.name AS destination_name
      FROM (SELECT {actor} AS id) AS me
      LEFT JOIN wallets_wallet AS source ON source.{source} = %(source)s
      LEFT JOIN wallets_wallet AS destination ON destination.{destination} = %(destination)s
), powers AS MATERIALIZED (
    SELECT wanted.power
      FROM parties CROSS JOIN LATERAL (VALUES
               ('source', 'manage', parties.actor_id, parties.source_id),
               ('destination', 'manage', parties.actor_id, parties.destination_id),
               ('shared', 'send', parties.source_id, parties.destination_id)
           ) AS wanted (power, type, holder_id, subject_id)
     CROSS JOIN LATERAL (
               SELECT FROM trusts_power AS trust
                WHERE trust.holder_id = wanted.holder_id AND trust.subject_id = wanted.subject_id
                  AND trust.power = wanted.type
                  FOR SHARE
           ) AS trusted
), verdict AS MATERIALIZED (
    SELECT parties.*,
           CASE {twin}WHEN source_id IS NULL OR destination_id IS NULL THEN NULL
                WHEN source_id = destination_id THEN 'same'
                WHEN source_id = parties.actor_id OR powers.over_source THEN
                    CASE WHEN destination_id = parties.actor_id OR powers.over_destination OR powers.shared
                         THEN 'completed' ELSE 'pending' END
                WHEN destination_id = parties.actor_id OR powers.over_destination THEN 'requested'
                ELSE 'foreign' END AS state
      FROM parties, (SELECT coalesce(bool_or(power = 'source'), false) AS over_source,
                            coalesce(bool_or(power = 'destination'), false) AS over_destination,
                            coalesce(bool_or(power = 'shared'), false) AS shared
                       FROM powers) AS powers
), terms AS MATERIALIZED (
    SELECT source_id FROM verdict WHERE state IN ('completed', 'pending')
)"""

# The tokens of the wallet in `terms` that are locked for this statement. Two things are written for the planner:
# * Where it could draw conclusions from a parameter, that stands in a subquery. A plan for every value alike must not
#   look worse than one for this value, or PostgreSQL plans anew each time, which takes three times as long as the rest.
# * `IS TRUE` hides a condition from the indexes. However old its statistics, it must not find one listed token by
#   walking all tokens of the wallet.
_DRAW_AT_ONCE = """
ahead AS MATERIALIZED (
    SELECT token.id FROM wallets_token AS token
     WHERE token.wallet_id = (SELECT source_id FROM terms) AND token.transfer_pending_id IS NULL
       AND token.lot >= %(lot)s::integer
     ORDER BY token.lot LIMIT (SELECT %(size)s::integer) FOR NO KEY UPDATE SKIP LOCKED
), behind AS MATERIALIZED (
    SELECT token.id FROM wallets_token AS token
     WHERE token.wallet_id = (SELECT source_id FROM terms) AND token.transfer_pending_id IS NULL
       AND token.lot < %(lot)s::integer
     ORDER BY token.lot LIMIT %(size)s::integer - (SELECT count(*) FROM ahead) FOR NO KEY UPDATE SKIP LOCKED
), drawn AS MATERIALIZED (
    SELECT id FROM ahead UNION ALL SELECT id FROM behind
)"""
_DRAW_PATIENTLY = """
drawn AS MATERIALIZED (
    SELECT token.id FROM wallets_token AS token
     WHERE token.wallet_id = (SELECT source_id FROM terms) AND token.transfer_pending_id IS NULL
     ORDER BY token.lot, token.id LIMIT (SELECT %(size)s::integer) FOR NO KEY UPDATE
)"""
_TAKE_LISTED = """
drawn AS MATERIALIZED (
    SELECT token.id
      FROM unnest((SELECT %(tokens)s::uuid[])) AS listed (id) JOIN wallets_token AS token ON token.id = listed.id
     WHERE (token.wallet_id = (SELECT source_id FROM terms) AND token.transfer_pending_id IS NULL) IS TRUE
     ORDER BY token.lot, token.id FOR NO KEY UPDATE OF token
)"""

# A request reserves nothing and locks nothing: a stranger must not be able to freeze my tokens.
_FREE_OF_WALLET = """
SELECT count(*) FROM (
    SELECT FROM wallets_token AS token
     WHERE token.wallet_id = verdict.source_id AND token.transfer_pending_id IS NULL
     LIMIT (SELECT %(size)s::integer)
) AS free"""
_FREE_OF_LIST = """
SELECT count(*)
  FROM unnest((SELECT %(tokens)s::uuid[])) AS listed (id) JOIN wallets_token AS token ON token.id = listed.id
 WHERE (token.wallet_id = verdict.source_id AND token.transfer_pending_id IS NULL) IS TRUE"""

# With an idempotency key the answer is stored by the statement that has the effect: both are there, or neither. Who
# does not get hold of the key has a twin that is at it; one that was faster has left a row, which refuses a second.
# With a proof nobody has looked for that row yet.
_TWIN = f"WHEN NOT {HOLDS_KEY.format(wallet='%(actor)s::uuid')} THEN 'twin' "
_EARLIER = """WHEN EXISTS (
                    SELECT FROM wallets_idempotentanswer WHERE wallet_id = parties.actor_id AND key = %(key)s::varchar
                ) THEN 'twin' """
_ANSWER = queries.written_transfer(
    id="%(id)s::uuid",
    parameters="%(written_parameters)s::text",
    state="verdict.state",
    created=written_time("written.created_at"),
    closed=f"CASE verdict.state WHEN 'completed' THEN {written_time('written.created_at')} END",
    originator="to_json(%(originator)s::text)",
    source="to_json(verdict.source_name)",
    destination="to_json(verdict.destination_name)",
)
_KEPT = f""", kept AS (
    INSERT INTO wallets_idempotentanswer (wallet_id, key, fingerprint, status, body, is_sealed)
    SELECT %(actor)s::uuid, %(key)s::varchar, %(fingerprint)s::bytea,
           (%(statuses)s::jsonb ->> verdict.state)::smallint, convert_to({_ANSWER}, 'UTF8'), false
      FROM written, verdict
)"""  # noqa: S608 - constants

_SEND = """
WITH {verdict}, {draw}, enough AS MATERIALIZED (
    SELECT source_id, destination_id, state, clock_timestamp() AS at
      FROM verdict
     WHERE CASE WHEN state IN ('completed', 'pending') THEN (SELECT count(*) FROM drawn) = %(size)s::integer
                WHEN state = 'requested' THEN ({free}) = %(size)s::integer
                ELSE false END
       AND {announced}
), changed AS (
    UPDATE wallets_token AS token
       SET wallet_id = CASE enough.state WHEN 'completed' THEN enough.destination_id ELSE token.wallet_id END,
           moves = CASE enough.state WHEN 'completed' THEN token.moves + 1 ELSE token.moves END,
           arrival = CASE enough.state WHEN 'completed' THEN nextval('transfers_arrival') ELSE token.arrival END,
           transfer_pending_id = CASE enough.state WHEN 'pending' THEN %(id)s::uuid END,
           updated_at = enough.at
      FROM enough, drawn
     WHERE token.id = drawn.id
 RETURNING token.id, token.moves, token.arrival
), written AS (
    INSERT INTO transfers_transfer (
           id, number, originator_id, source_id, destination_id, parameters, state,
           token_count, reserved_count, moved_count, created_at, closed_at, closed_event)
    SELECT %(id)s::uuid, {number}, %(actor)s::uuid, source_id, destination_id,
           %(parameters)s::jsonb, state, %(size)s::integer,
           CASE state WHEN 'pending' THEN changed.count ELSE 0 END,
           CASE state WHEN 'completed' THEN changed.count ELSE 0 END,
           at, CASE state WHEN 'completed' THEN at END, ''
      FROM enough, (SELECT count(*) FROM changed) AS changed
 RETURNING number, source_id, destination_id, state, created_at
), history AS (
    INSERT INTO transfers_movement (id, token_id, number, transfer_number, source_id, destination_id, processed_at)
    SELECT changed.arrival, changed.id, changed.moves, written.number, written.source_id, written.destination_id,
           written.created_at
      FROM written, changed
     WHERE written.state = 'completed'
){kept}
SELECT verdict.state, verdict.source_id, verdict.source_name, verdict.destination_id, verdict.destination_name,
       written.number, written.created_at
  FROM verdict LEFT JOIN written ON true
"""


@cache
def _sending(draw: str, free: str, source: str, destination: str, has_key: bool, is_proven: bool) -> str:
    twin = (_TWIN + (_EARLIER if is_proven else "")) if has_key else ""
    verdict = _VERDICT.format(source=source, destination=destination, twin=twin, actor=acting(is_proven=is_proven))
    return _SEND.format(
        verdict=verdict, draw=draw, free=free, announced=event_sequence.ANNOUNCED, number=event_sequence.NEXT,
        kept=_KEPT if has_key else "",
    )  # fmt: skip


def send_bundle(
    *,
    transfer_id: UUID,
    actor: Wallet,
    source: WalletReference,
    destination: WalletReference,
    size: int,
    patiently: bool,
    claim: IdempotencyClaim | None = None,
    proof: CachedCredentials | None = None,
) -> Verdict:
    """
    Decide what the actor may do, and write the transfer of `size` tokens of the ledger's choice.

    With a claim the answer is stored too, or `wallets.errors.KeyInUse` raised if a twin has stored its own. With a
    proof that has ended it is written for nobody.

    Without a number in the verdict nothing was written. If then the state is one that sends tokens, there were too
    few; without `patiently` that may be only because others hold them at this moment.
    """
    return _send(
        _DRAW_PATIENTLY if patiently else _DRAW_AT_ONCE,
        _FREE_OF_WALLET,
        transfer_id,
        actor,
        source,
        destination,
        claim,
        proof,
        {"size": size, "lot": randint(*LOTS), "parameters": bundle_parameters(size)},  # noqa: S311 - spreads load
    )


def send_listed(
    *,
    transfer_id: UUID,
    actor: Wallet,
    source: WalletReference,
    destination: WalletReference,
    token_ids: Sequence[UUID],
    claim: IdempotencyClaim | None = None,
    proof: CachedCredentials | None = None,
) -> Verdict:
    """
    Decide what the actor may do, and write the transfer of exactly these tokens.

    Without a number in the verdict nothing was written. If then the state is one that sends tokens, some of them
    did not lie free in the source when they were looked at.
    """
    return _send(
        _TAKE_LISTED,
        _FREE_OF_LIST,
        transfer_id,
        actor,
        source,
        destination,
        claim,
        proof,
        {"size": len(token_ids), "tokens": list(token_ids), "parameters": listed_parameters(token_ids)},
    )


def bundle_parameters(size: int) -> str:
    """Return the JSON text that a transfer keeps of the wish for a bundle."""
    return orjson.dumps({"bundle": {"bundleSize": size}}).decode()


def listed_parameters(token_ids: Sequence[UUID]) -> str:
    """Return the JSON text that a transfer keeps of the wish for these tokens."""
    return orjson.dumps({"tokens": token_ids}).decode()


def _send(
    draw: str,
    free: str,
    transfer_id: UUID,
    actor: Wallet,
    source: WalletReference,
    destination: WalletReference,
    claim: IdempotencyClaim | None,
    proof: CachedCredentials | None,
    arguments: dict[str, Any],
) -> Verdict:
    statement = _sending(draw, free, source.column, destination.column, claim is not None, proof is not None)
    arguments |= {"id": transfer_id, "actor": actor.pk, "source": source.value, "destination": destination.value}
    arguments |= proving(proof)
    if claim is not None:
        arguments |= {
            "key": claim.key,
            "fingerprint": claim.fingerprint,
            "statuses": orjson.dumps(claim.statuses).decode(),
            "originator": actor.name,
            # Under a name of its own, since a placeholder has one type, and JSON that was read is written otherwise.
            "written_parameters": arguments["parameters"],
        }
    with connection.cursor() as cursor:
        try:
            cursor.execute(statement, arguments)
        except IntegrityError as error:
            if "idempotency_key_is_used_once" not in str(error):
                raise
            raise KeyInUse from error
        return Verdict(*cursor.fetchone())


# What the transfer row, locked by the caller, says about the tokens that it reserved.
_TAKE_RESERVED = """
drawn AS MATERIALIZED (
    SELECT token.id FROM wallets_token AS token
     WHERE token.transfer_pending_id = %(id)s::uuid AND (token.wallet_id = (SELECT source_id FROM terms)) IS TRUE
     ORDER BY token.lot, token.id FOR NO KEY UPDATE
)"""

_COMPLETE = """
WITH terms AS MATERIALIZED (
    SELECT number, source_id, destination_id FROM transfers_transfer WHERE id = %(id)s::uuid
), {draw}, enough AS MATERIALIZED (
    SELECT terms.*, clock_timestamp() AS at FROM terms WHERE (SELECT count(*) FROM drawn) = %(size)s::integer
), changed AS (
    UPDATE wallets_token AS token
       SET wallet_id = enough.destination_id, moves = token.moves + 1, arrival = nextval('transfers_arrival'),
           transfer_pending_id = NULL, updated_at = enough.at
      FROM enough, drawn
     WHERE token.id = drawn.id
 RETURNING token.id, token.moves, token.arrival
), closed AS (
    UPDATE transfers_transfer AS transfer
       SET state = 'completed', reserved_count = 0, moved_count = (SELECT count(*) FROM changed),
           closed_at = enough.at, closed_from = transfer.state, closed_event = %(event)s::text,
           closed_by_id = %(actor)s::uuid
      FROM enough
     WHERE transfer.number = enough.number
 RETURNING transfer.number
), history AS (
    INSERT INTO transfers_movement (id, token_id, number, transfer_number, source_id, destination_id, processed_at)
    SELECT changed.arrival, changed.id, changed.moves, enough.number, enough.source_id, enough.destination_id,
           enough.at
      FROM enough, changed
), tallied AS (
    INSERT INTO transfers_tallydelta (wallet_id, tokens)
    SELECT side.wallet_id, side.tokens
      FROM enough CROSS JOIN LATERAL (VALUES
               (enough.source_id, -%(size)s::integer), (enough.destination_id, %(size)s::integer)
           ) AS side (wallet_id, tokens)
)
SELECT number FROM closed
"""
_COMPLETE_RESERVED = _COMPLETE.format(draw=_TAKE_RESERVED)
_COMPLETE_LISTED = _COMPLETE.format(draw=_TAKE_LISTED)
_COMPLETE_BUNDLE_AT_ONCE = _COMPLETE.format(draw=_DRAW_AT_ONCE)
_COMPLETE_BUNDLE_PATIENTLY = _COMPLETE.format(draw=_DRAW_PATIENTLY)


def complete_reserved(*, transfer_id: UUID, actor_id: UUID, size: int) -> bool:
    """
    Move the tokens that a pending transfer reserved and close it, by `accept`.

    The caller holds the transfer row, and has decided on it. Returns False if not all are there, which
    the ledger's own rules exclude.
    """
    return _complete(_COMPLETE_RESERVED, transfer_id, actor_id, TransferEvent.ACCEPT, {"size": size})


def complete_listed(*, transfer_id: UUID, actor_id: UUID, token_ids: Sequence[UUID]) -> bool:
    """
    Move exactly these tokens for a requested transfer and close it, by `fulfill`.

    The caller holds the transfer row, and has decided on it. Returns False, and has changed nothing, if not all of
    them lie free in the source.
    """
    arguments: dict[str, Any] = {"size": len(token_ids), "tokens": list(token_ids)}
    return _complete(_COMPLETE_LISTED, transfer_id, actor_id, TransferEvent.FULFILL, arguments)


def complete_bundle(*, transfer_id: UUID, actor_id: UUID, size: int, patiently: bool) -> bool:
    """
    Move `size` tokens of the ledger's choice for a requested transfer and close it, by `fulfill`.

    The caller holds the transfer row, and has decided on it. Returns False, and has changed nothing, if there are
    too few; without `patiently` that may be only because others hold them at this moment.
    """
    statement = _COMPLETE_BUNDLE_PATIENTLY if patiently else _COMPLETE_BUNDLE_AT_ONCE
    arguments: dict[str, Any] = {"size": size, "lot": randint(*LOTS)}  # noqa: S311 - spreads load
    return _complete(statement, transfer_id, actor_id, TransferEvent.FULFILL, arguments)


def _complete(
    statement: str, transfer_id: UUID, actor_id: UUID, event: TransferEvent, arguments: dict[str, Any]
) -> bool:
    with connection.cursor() as cursor:
        cursor.execute(statement, {"id": transfer_id, "actor": actor_id, "event": event.value, **arguments})
        return cursor.fetchone() is not None


_RELEASE = """
WITH held AS MATERIALIZED (
    SELECT token.id FROM wallets_token AS token
     WHERE token.transfer_pending_id = %(id)s::uuid ORDER BY token.lot, token.id FOR NO KEY UPDATE
), released AS (
    UPDATE wallets_token AS token SET transfer_pending_id = NULL, updated_at = clock_timestamp()
      FROM held WHERE token.id = held.id
)
UPDATE transfers_transfer
   SET state = %(state)s::text, reserved_count = 0, closed_at = clock_timestamp(), closed_from = state,
       closed_event = %(event)s::text, closed_by_id = %(actor)s::uuid
 WHERE id = %(id)s::uuid
"""


def release(*, transfer_id: UUID, actor_id: UUID | None, event: TransferEvent, state: TransferState) -> None:
    """
    Free the tokens that an open transfer reserved, if any, and close it without moving one.

    The caller holds the transfer row, and has decided on it. `actor_id` is None if the system gave it up.
    """
    with connection.cursor() as cursor:
        cursor.execute(_RELEASE, {"id": transfer_id, "actor": actor_id, "event": event.value, "state": state.value})


_ISSUE = """
WITH issued AS (
    INSERT INTO wallets_token (
           id, capture_id, wallet_id, moves, arrival, lot, claim, created_at, updated_at)
    SELECT coalesce(new.id, gen_random_uuid()), new.capture_id, %(wallet)s::uuid, 0, nextval('transfers_arrival'),
           floor(random() * 4294967296 - 2147483648)::integer, false, clock.at, clock.at
      FROM unnest(%(ids)s::uuid[], %(captures)s::uuid[]) AS new (id, capture_id),
           (SELECT clock_timestamp() AS at) AS clock
        ON CONFLICT (capture_id) DO NOTHING
 RETURNING id, arrival, created_at
), history AS (
    INSERT INTO transfers_movement (id, token_id, number, transfer_number, source_id, destination_id, processed_at)
    SELECT arrival, id, 0, NULL, NULL, %(wallet)s::uuid, created_at FROM issued
), tallied AS (
    INSERT INTO transfers_tallydelta (wallet_id, tokens) SELECT %(wallet)s::uuid, count(*) FROM issued
 RETURNING tokens
), noted AS (
    INSERT INTO transfers_issue (wallet_id, tokens, issued_at)
    SELECT %(wallet)s::uuid, tokens, clock_timestamp() FROM tallied WHERE tokens > 0
)
SELECT tokens FROM tallied
"""


def issue(*, wallet_id: UUID, capture_ids: Sequence[UUID], token_ids: Sequence[UUID] | None = None) -> int:
    """
    Create one token for each capture that has none yet, in the wallet, and return how many were created.

    `token_ids`, if given, are the ids of the new tokens, as many as captures; else the database draws them.
    The first capture of the list arrives first.
    """
    ids = [None] * len(capture_ids) if token_ids is None else list(token_ids)
    with connection.cursor() as cursor:
        cursor.execute(_ISSUE, {"wallet": wallet_id, "ids": ids, "captures": list(capture_ids)})
        return int(cursor.fetchone()[0])


def refresh_statistics() -> None:
    """Let the planner know how large the tables have become, before plans made for small ones are used for long."""
    with connection.cursor() as cursor:
        cursor.execute("ANALYZE wallets_token, transfers_movement")


class BatchVerdict(NamedTuple):
    """What the actor may do with one row of a batch. `state` is None if there is no such destination."""

    destination_id: UUID | None
    state: str | None  # a TransferState, 'same' or 'foreign'


# As `_VERDICT`, for one source and many destinations; each row gives an id or the key of a name.
_BATCH_VERDICT = """
WITH listed AS MATERIALIZED (
    SELECT given.line, coalesce(by_id.id, by_name.id) AS destination_id
      FROM unnest(%(ids)s::uuid[], %(keys)s::text[]) WITH ORDINALITY AS given (id, name_key, line)
      LEFT JOIN wallets_wallet AS by_id ON by_id.id = given.id
      LEFT JOIN wallets_wallet AS by_name ON by_name.name_key = given.name_key
), wanted AS MATERIALIZED (
    SELECT 0::bigint AS line, 'source' AS power, 'manage' AS type, %(actor)s::uuid AS holder_id,
           %(source)s::uuid AS subject_id
     UNION ALL
    SELECT listed.line, power.*
      FROM listed CROSS JOIN LATERAL (VALUES
               ('destination', 'manage', %(actor)s::uuid, listed.destination_id),
               ('shared', 'send', %(source)s::uuid, listed.destination_id)
           ) AS power (power, type, holder_id, subject_id)
), powers AS MATERIALIZED (
    SELECT wanted.line, wanted.power
      FROM wanted JOIN trusts_power AS trust
        ON trust.holder_id = wanted.holder_id AND trust.subject_id = wanted.subject_id AND trust.power = wanted.type
       FOR SHARE OF trust
), held AS MATERIALIZED (
    SELECT line, bool_or(power = 'destination') AS over_destination, bool_or(power = 'shared') AS shared
      FROM powers GROUP BY line
)
SELECT listed.destination_id,
       CASE WHEN listed.destination_id IS NULL THEN NULL
            WHEN listed.destination_id = %(source)s::uuid THEN 'same'
            WHEN %(source)s::uuid = %(actor)s::uuid OR EXISTS (SELECT FROM powers WHERE line = 0) THEN
                CASE WHEN listed.destination_id = %(actor)s::uuid OR held.over_destination OR held.shared
                     THEN 'completed' ELSE 'pending' END
            WHEN listed.destination_id = %(actor)s::uuid OR held.over_destination THEN 'requested'
            ELSE 'foreign' END
  FROM listed LEFT JOIN held USING (line)
 ORDER BY listed.line
"""


def batch_verdicts(*, actor_id: UUID, source_id: UUID, destinations: Sequence[WalletReference]) -> list[BatchVerdict]:
    """
    Decide what the actor may do with each of many bundles from one source, in their order.

    The caller has opened a transaction: the trusts that give the right are locked until it ends.
    """
    with connection.cursor() as cursor:
        cursor.execute(
            _BATCH_VERDICT,
            {
                "actor": actor_id,
                "source": source_id,
                "ids": [each.value if each.column == "id" else None for each in destinations],
                "keys": [each.value if each.column == "name_key" else None for each in destinations],
            },
        )
        return [BatchVerdict(*row) for row in cursor.fetchall()]


class BatchRow(NamedTuple):
    """One transfer of a batch that has been decided on."""

    id: UUID
    destination_id: UUID
    size: int
    state: TransferState


# All tokens of a batch are drawn at once, as for one bundle: so whoever waits still waits in one order. Then
# they are numbered, and so are the places that want one.
_SEND_BATCH = """
WITH terms AS MATERIALIZED (
    SELECT %(source)s::uuid AS source_id
), {draw}, wanted AS MATERIALIZED (
    SELECT * FROM unnest(%(ids)s::uuid[], %(destinations)s::uuid[], %(sizes)s::integer[], %(states)s::text[])
                  WITH ORDINALITY AS wanted (id, destination_id, size, state, line)
), enough AS MATERIALIZED (
    SELECT clock_timestamp() AS at
     WHERE CASE WHEN %(draws)s::boolean THEN (SELECT count(*) FROM drawn) ELSE ({free}) END = %(size)s::integer
       AND {announced}
), placed AS MATERIALIZED (
    SELECT wanted.id AS transfer_id, wanted.destination_id, wanted.state,
           row_number() OVER (ORDER BY wanted.line) AS place
      FROM wanted CROSS JOIN generate_series(1, wanted.size) WHERE %(draws)s::boolean
), numbered AS MATERIALIZED (
    SELECT id, row_number() OVER () AS place FROM drawn
), changed AS (
    UPDATE wallets_token AS token
       SET wallet_id = CASE placed.state WHEN 'completed' THEN placed.destination_id ELSE token.wallet_id END,
           moves = CASE placed.state WHEN 'completed' THEN token.moves + 1 ELSE token.moves END,
           arrival = CASE placed.state WHEN 'completed' THEN nextval('transfers_arrival') ELSE token.arrival END,
           transfer_pending_id = CASE placed.state WHEN 'pending' THEN placed.transfer_id END,
           updated_at = enough.at
      FROM enough CROSS JOIN numbered JOIN placed USING (place)
     WHERE token.id = numbered.id
 RETURNING token.id, token.moves, token.arrival, placed.transfer_id
), counted AS (
    SELECT transfer_id, count(*) FROM changed GROUP BY transfer_id
), written AS (
    INSERT INTO transfers_transfer (
           id, number, originator_id, source_id, destination_id, parameters, state,
           token_count, reserved_count, moved_count, created_at, closed_at, closed_event)
    SELECT id, {number}, %(actor)s::uuid, %(source)s::uuid, destination_id,
           jsonb_build_object('bundle', jsonb_build_object('bundleSize', size)), state, size,
           CASE state WHEN 'pending' THEN count ELSE 0 END, CASE state WHEN 'completed' THEN count ELSE 0 END,
           at, CASE state WHEN 'completed' THEN at END, ''
      FROM (SELECT wanted.*, coalesce(counted.count, 0) AS count, enough.at
              FROM enough CROSS JOIN wanted LEFT JOIN counted ON counted.transfer_id = wanted.id
             ORDER BY wanted.line) AS row
 RETURNING id, number, source_id, destination_id, state, created_at
), history AS (
    INSERT INTO transfers_movement (id, token_id, number, transfer_number, source_id, destination_id, processed_at)
    SELECT changed.arrival, changed.id, changed.moves, written.number, written.source_id, written.destination_id,
           written.created_at
      FROM written JOIN changed ON changed.transfer_id = written.id
     WHERE written.state = 'completed'
)
SELECT count(*) FROM written
"""
_FREE_OF_BATCH = """
SELECT count(*) FROM (
    SELECT FROM wallets_token AS token
     WHERE token.wallet_id = %(source)s::uuid AND token.transfer_pending_id IS NULL
     LIMIT (SELECT %(size)s::integer)
) AS free"""
_SEND_BATCH_AT_ONCE, _SEND_BATCH_PATIENTLY = (
    _SEND_BATCH.format(draw=draw, free=_FREE_OF_BATCH, announced=event_sequence.ANNOUNCED, number=event_sequence.NEXT)
    for draw in (
        # A request draws nothing.
        _DRAW_AT_ONCE.replace("%(size)s", "%(drawn)s"),
        _DRAW_PATIENTLY.replace("%(size)s", "%(drawn)s"),
    )
)


def send_batch(*, actor_id: UUID, source_id: UUID, rows: Sequence[BatchRow], patiently: bool) -> bool:
    """
    Write the transfers of a batch, each with the tokens that it moves or reserves, or none of them.

    The caller holds the right to each (`batch_verdicts`); either all of them are requests or none is. Returns False,
    and has changed nothing, if there are too few tokens for all together; without `patiently` that may be only
    because others hold them at this moment.
    """
    size = sum(row.size for row in rows)
    draws = rows[0].state is not TransferState.REQUESTED
    with connection.cursor() as cursor:
        cursor.execute(
            _SEND_BATCH_PATIENTLY if patiently else _SEND_BATCH_AT_ONCE,
            {
                "actor": actor_id,
                "source": source_id,
                "ids": [row.id for row in rows],
                "destinations": [row.destination_id for row in rows],
                "sizes": [row.size for row in rows],
                "states": [row.state.value for row in rows],
                "size": size,
                "drawn": size if draws else 0,
                "draws": draws,
                "lot": randint(*LOTS),  # noqa: S311 - spreads load
            },
        )
        return bool(cursor.fetchone()[0])
