-- Moves the selected tokens of an open transfer, which the caller has locked, and closes it.
WITH source AS MATERIALIZED (
    SELECT number, source_id, destination_id FROM transfers_transfer WHERE id = %(id)s::uuid
), {selection}, guard AS MATERIALIZED (
    SELECT *, clock_timestamp() AS at FROM source CROSS JOIN selected WHERE cardinality(ids) = %(size)s::integer
), changed AS (
    UPDATE wallets_token AS token
       SET wallet_id = guard.destination_id, moves = token.moves + 1, arrival = nextval('transfers_arrival'),
           transfer_pending_id = NULL, updated_at = guard.at
      FROM guard
     WHERE token.id = ANY (guard.ids)
 RETURNING token.id, token.moves, token.arrival
), closed AS (
    UPDATE transfers_transfer AS transfer
       SET state = 'completed', reserved_count = 0, moved_count = (SELECT count(*) FROM changed),
           closed_at = guard.at, closed_from = transfer.state, closed_event = %(event)s::text,
           closed_by_id = %(actor)s::uuid
      FROM guard
     WHERE transfer.number = guard.number
 RETURNING transfer.number
), history AS (
    INSERT INTO transfers_movement (id, token_id, number, transfer_number, source_id, destination_id, processed_at)
    SELECT changed.arrival, changed.id, changed.moves, guard.number, guard.source_id, guard.destination_id, guard.at
      FROM guard, changed
), counted AS (
    INSERT INTO transfers_tallydelta (wallet_id, tokens, at)
    SELECT side.wallet_id, side.tokens, guard.at
      FROM guard CROSS JOIN LATERAL (VALUES
               (guard.source_id, -%(size)s::integer), (guard.destination_id, %(size)s::integer)
           ) AS side (wallet_id, tokens)
)
SELECT number FROM closed
