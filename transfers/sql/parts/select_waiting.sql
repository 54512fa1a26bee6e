-- Locks free tokens in the order (lot, id), waiting for tokens that others hold.
selected AS MATERIALIZED (
    SELECT ARRAY(
        SELECT token.id FROM wallets_token AS token
         WHERE token.wallet_id = (SELECT source_id FROM source) AND token.transfer_pending_id IS NULL
         ORDER BY token.lot, token.id LIMIT (SELECT %(size)s::integer) FOR NO KEY UPDATE
    ) AS ids
)
