-- Writes the transfers of a batch, which are decided. One selection locks the tokens of all rows in one order, which
-- avoids deadlocks; the n-th token is then assigned to the n-th place of the rows. Requested transfers select no
-- tokens. FULL JOIN forces a hash or merge join. If `guard` is empty, nothing is written.
WITH source AS MATERIALIZED (
    SELECT %(source)s::uuid AS source_id WHERE (SELECT %(selects)s::boolean)
), {selection}, wanted AS MATERIALIZED (
    SELECT * FROM unnest(
                  %(ids)s::uuid[], %(destinations)s::uuid[], %(sizes)s::integer[], %(states)s::text[],
                  %(approvals)s::text[]{references})
                  WITH ORDINALITY AS wanted (id, destination_id, size, state, approval_of{reference}, line)
), guard AS MATERIALIZED (
    SELECT clock_timestamp() AS at
      FROM (SELECT %(source)s::uuid AS source_id) AS decision
     WHERE CASE WHEN %(selects)s::boolean THEN (SELECT cardinality(ids) FROM selected) ELSE {count} END
           = %(size)s::integer
       AND {announced}
), placed AS MATERIALIZED (
    SELECT wanted.id AS transfer_id, wanted.destination_id, wanted.state,
           (SELECT ids FROM selected)[row_number() OVER (ORDER BY wanted.line)] AS token_id
      FROM wanted CROSS JOIN generate_series(1, wanted.size) WHERE %(selects)s::boolean
), changed AS (
    UPDATE wallets_token AS token
       SET wallet_id = CASE placed.state WHEN 'completed' THEN placed.destination_id ELSE token.wallet_id END,
           moves = CASE placed.state WHEN 'completed' THEN token.moves + 1 ELSE token.moves END,
           arrival = CASE placed.state WHEN 'completed' THEN nextval('transfers_arrival') ELSE token.arrival END,
           transfer_pending_id = CASE placed.state WHEN 'pending' THEN placed.transfer_id END,
           updated_at = guard.at
      FROM guard CROSS JOIN placed
     WHERE token.id = ANY (ARRAY[placed.token_id])
 RETURNING token.id, token.moves, token.arrival, placed.transfer_id
), counted AS (
    SELECT transfer_id, count(*) FROM changed GROUP BY transfer_id
), written AS (
    INSERT INTO transfers_transfer (
           id, number, originator_id, source_id, destination_id, parameters, state,
           token_count, reserved_count, moved_count, created_at, closed_at, closed_event,
           approval_of, approval_asked_by_id, approval_asked_with{terms_columns})
    SELECT id, nextval('wallets_event_number'), %(actor)s::uuid, %(source)s::uuid, destination_id,
           jsonb_build_object('bundle', jsonb_build_object('bundleSize', size)), state, size,
           CASE state WHEN 'pending' THEN count ELSE 0 END, CASE state WHEN 'completed' THEN count ELSE 0 END,
           at, CASE state WHEN 'completed' THEN at END, '',
           approval_of, CASE WHEN approval_of IS NOT NULL THEN %(actor)s::uuid END,
           CASE WHEN approval_of IS NOT NULL THEN %(credential)s::uuid END{terms_values}
      FROM (SELECT wanted.*, coalesce(counted.count, 0) AS count, guard.at
              FROM guard CROSS JOIN (wanted FULL JOIN counted ON counted.transfer_id = wanted.id)
             ORDER BY wanted.line) AS row
 RETURNING id, number, source_id, destination_id, state, created_at
), {terms_stored}history AS (
    INSERT INTO transfers_movement (id, token_id, number, transfer_number, source_id, destination_id, processed_at)
    SELECT changed.arrival, changed.id, changed.moves, written.number, written.source_id, written.destination_id,
           written.created_at
      FROM written FULL JOIN changed ON changed.transfer_id = written.id
     WHERE coalesce(written.state = 'completed', false)
)
SELECT count(*) FROM written
