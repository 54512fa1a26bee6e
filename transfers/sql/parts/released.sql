-- Frees the tokens that the rows of "due", which are locked, have reserved.
held AS MATERIALIZED (
    SELECT token.id FROM wallets_token AS token
     WHERE token.transfer_pending_id = ANY (ARRAY(SELECT id FROM due))
     ORDER BY token.lot, token.id FOR NO KEY UPDATE
), released AS (
    UPDATE wallets_token AS token SET transfer_pending_id = NULL, updated_at = clock_timestamp()
     WHERE token.id = ANY (ARRAY(SELECT id FROM held))
)
