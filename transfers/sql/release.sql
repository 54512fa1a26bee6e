-- Frees the tokens that an open transfer reserved, and closes it without moving any.
WITH held AS MATERIALIZED (
    SELECT token.id FROM wallets_token AS token
     WHERE token.transfer_pending_id = %(id)s::uuid ORDER BY token.lot, token.id FOR NO KEY UPDATE
), released AS (
    UPDATE wallets_token AS token SET transfer_pending_id = NULL, updated_at = clock_timestamp()
     WHERE token.id = ANY (ARRAY(SELECT id FROM held))
)
UPDATE transfers_transfer
   SET state = %(state)s::text, reserved_count = 0, closed_at = clock_timestamp(), closed_from = state,
       closed_event = %(event)s::text, closed_by_id = %(actor)s::uuid
 WHERE id = %(id)s::uuid
