-- Locks the tokens that the transfer reserved.
selected AS MATERIALIZED (
    SELECT ARRAY(
        SELECT token.id FROM wallets_token AS token
         WHERE token.transfer_pending_id = %(id)s::uuid AND (token.wallet_id = (SELECT source_id FROM source)) IS TRUE
         ORDER BY token.lot, token.id FOR NO KEY UPDATE
    ) AS ids
)
