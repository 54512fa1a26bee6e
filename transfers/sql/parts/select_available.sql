-- Locks free tokens from a random start position, wraps around once, and skips tokens that others hold. The outer LIMIT
-- ends the scan: the part before the start is read only if the part after it has too few.
selected AS MATERIALIZED (
    SELECT ARRAY(
        SELECT free.id
          FROM (VALUES (%(shuffle_key)s::bigint, 2147483647),
                       (-2147483648, %(shuffle_key)s::bigint - 1)) AS part (low, high)
         CROSS JOIN LATERAL (
                   SELECT token.id FROM wallets_token AS token
                    WHERE token.wallet_id = (SELECT source_id FROM source) AND token.transfer_pending_id IS NULL
                      AND token.lot BETWEEN part.low AND part.high
                    ORDER BY token.lot LIMIT (SELECT %(size)s::integer) FOR NO KEY UPDATE SKIP LOCKED
               ) AS free
         LIMIT (SELECT %(size)s::integer)
    ) AS ids
)
