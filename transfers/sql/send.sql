-- Decides on a transfer and writes it: completed with its tokens moved, pending with its tokens reserved, or requested.
-- `guard` takes its number, after the condition `{announced}` has taken the advisory lock of the sequence.
-- A party is given by id or by the key of its name. Each combination has its own statement: one that serves all, with
-- subqueries for what is not given, takes 4 % more instructions. For the same reason no CTE has columns that nothing
-- behind it uses.
WITH me AS MATERIALIZED (SELECT %(actor)s::uuid AS id), parties AS MATERIALIZED (
    SELECT me.id AS actor_id, source.id AS source_id, source.name AS source_name,
           destination.id AS destination_id, destination.name AS destination_name, {is_duplicate} AS is_duplicate,
           %(size)s::integer > source.approval_above OR source.approval_of_new_receivers IS TRUE
               AND transfers_is_new_receiver(source.id, destination.id) AS needs_approval
      FROM me
      LEFT JOIN wallets_wallet AS source ON {is_source}
      LEFT JOIN wallets_wallet AS destination ON {is_destination}
), {decision}, source AS (
    SELECT source_id FROM decision WHERE state IN ('completed', 'pending')
), {selection}, guard AS MATERIALIZED (
    SELECT source_id, destination_id, state, state = 'completed' AS completes, approval_of, ids,
           clock_timestamp() AS at, nextval('wallets_event_number') AS number
      FROM decision CROSS JOIN selected
     WHERE CASE WHEN state IN ('completed', 'pending') THEN cardinality(ids) = %(size)s::integer
                WHEN state = 'requested' THEN {count} = %(size)s::integer
                ELSE false END
       AND {announced}
), changed AS (
    UPDATE wallets_token AS token
       SET wallet_id = CASE WHEN guard.completes THEN guard.destination_id ELSE token.wallet_id END,
           moves = CASE WHEN guard.completes THEN token.moves + 1 ELSE token.moves END,
           arrival = CASE WHEN guard.completes THEN nextval('transfers_arrival') ELSE token.arrival END,
           transfer_pending_id = CASE WHEN NOT guard.completes THEN %(id)s::uuid END,
           updated_at = guard.at
      FROM guard
     WHERE token.id = ANY (guard.ids)
 RETURNING token.id, token.moves, token.arrival, guard.source_id, guard.destination_id, guard.completes, guard.at,
           guard.number
), written AS (
    INSERT INTO transfers_transfer AS transfer (
           id, number, originator_id, source_id, destination_id, parameters, state,
           token_count, reserved_count, moved_count, created_at, closed_at, closed_event,
           approval_of, approval_asked_by_id, approval_asked_with{terms_columns})
    SELECT %(id)s::uuid, number, %(actor)s::uuid, source_id, destination_id,
           %(parameters)s::jsonb, state, %(size)s::integer,
           CASE WHEN completes THEN 0 ELSE changed.count END,
           CASE WHEN completes THEN changed.count ELSE 0 END,
           at, CASE WHEN completes THEN at END, '',
           approval_of, CASE WHEN approval_of IS NOT NULL THEN %(actor)s::uuid END,
           CASE WHEN approval_of IS NOT NULL THEN %(credential)s::uuid END{terms_values}
      FROM guard, (SELECT count(*) FROM changed) AS changed
 RETURNING id, number, parameters, state, closed_at, approval_of, {created_at_json} AS created{terms_returned}
), {terms_stored}{stored}history AS (
    INSERT INTO transfers_movement (id, token_id, number, transfer_number, source_id, destination_id, processed_at)
    SELECT arrival, id, moves, number, source_id, destination_id, at FROM changed WHERE completes
)
SELECT decision.state, decision.source_id, decision.destination_id, transfer.number,
       CASE WHEN transfer.number IS NOT NULL THEN {json} END{has_terms}
  FROM decision LEFT JOIN written AS transfer ON true
 CROSS JOIN LATERAL (SELECT to_json(%(actor_name)s::text) AS name_json) AS originator
 CROSS JOIN LATERAL (SELECT to_json(decision.source_name) AS name_json) AS source
 CROSS JOIN LATERAL (SELECT to_json(decision.destination_name) AS name_json) AS destination
 CROSS JOIN LATERAL (SELECT transfer.created) AS at
