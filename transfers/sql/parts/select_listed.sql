-- Locks those of the listed tokens that are free in the source. `IS TRUE` hides the condition from the indexes: whatever
-- its statistics say, the planner must not look for one listed token by walking all tokens of the wallet.
selected AS MATERIALIZED (
    SELECT ARRAY(
        SELECT token.id FROM wallets_token AS token
         WHERE token.id = ANY ((SELECT %(tokens)s::uuid[])::uuid[])
           AND (token.wallet_id = (SELECT source_id FROM source) AND token.transfer_pending_id IS NULL) IS TRUE
         ORDER BY token.lot, token.id FOR NO KEY UPDATE
    ) AS ids
)
