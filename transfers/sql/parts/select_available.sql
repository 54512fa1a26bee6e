-- Locks free tokens from a random start position, wraps around once, and skips tokens that others hold.
ahead AS MATERIALIZED (
    SELECT token.id FROM wallets_token AS token
     WHERE token.wallet_id = (SELECT source_id FROM source) AND token.transfer_pending_id IS NULL
       AND token.lot >= %(shuffle_key)s::integer
     ORDER BY token.lot LIMIT (SELECT %(size)s::integer) FOR NO KEY UPDATE SKIP LOCKED
), behind AS MATERIALIZED (
    SELECT token.id FROM wallets_token AS token
     WHERE token.wallet_id = (SELECT source_id FROM source) AND token.transfer_pending_id IS NULL
       AND token.lot < %(shuffle_key)s::integer
     ORDER BY token.lot LIMIT %(size)s::integer - (SELECT count(*) FROM ahead) FOR NO KEY UPDATE SKIP LOCKED
), selected AS MATERIALIZED (
    SELECT id FROM ahead UNION ALL SELECT id FROM behind
)
