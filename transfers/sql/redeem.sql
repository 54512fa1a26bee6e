-- Moves the tokens that a claim link reserved, which the caller has locked, by a transfer with the id of the link that
-- completes at once, and closes the link.
WITH source AS MATERIALIZED (
    SELECT sender_id AS source_id FROM transfers_actiontoken WHERE id = %(id)s::uuid
), {selection}, guard AS MATERIALIZED (
    SELECT source_id, ids, clock_timestamp() AS at
      FROM source CROSS JOIN selected
     WHERE cardinality(ids) = %(size)s::integer AND {announced}
), changed AS (
    UPDATE wallets_token AS token
       SET wallet_id = %(destination)s::uuid, moves = token.moves + 1, arrival = nextval('transfers_arrival'),
           transfer_pending_id = NULL, updated_at = guard.at
      FROM guard
     WHERE token.id = ANY (guard.ids)
 RETURNING token.id, token.moves, token.arrival
), written AS (
    INSERT INTO transfers_transfer (
           id, number, originator_id, source_id, destination_id, parameters, state,
           token_count, reserved_count, moved_count, created_at, closed_at, closed_event)
    SELECT %(id)s::uuid, nextval('wallets_event_number'), %(actor)s::uuid, source_id, %(destination)s::uuid,
           jsonb_build_object('tokens', changed.ids), 'completed', %(size)s::integer, 0, changed.count, at, at, ''
      FROM guard, (SELECT count(*), jsonb_agg(id ORDER BY arrival) AS ids FROM changed) AS changed
 RETURNING number, source_id, destination_id, created_at
), history AS (
    INSERT INTO transfers_movement (id, token_id, number, transfer_number, source_id, destination_id, processed_at)
    SELECT changed.arrival, changed.id, changed.moves, written.number, written.source_id, written.destination_id,
           written.created_at
      FROM written, changed
)
UPDATE transfers_actiontoken AS link
   SET state = 'redeemed', closed_at = written.created_at, closed_by_id = %(actor)s::uuid
  FROM written WHERE link.id = %(id)s::uuid
RETURNING written.number
