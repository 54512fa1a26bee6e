SELECT count(*) FROM (
    SELECT FROM wallets_token AS token
     WHERE token.wallet_id = decision.source_id AND token.transfer_pending_id IS NULL
     LIMIT (SELECT %(size)s::integer)
) AS available
