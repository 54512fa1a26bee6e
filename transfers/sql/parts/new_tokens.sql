(
    SELECT * FROM wallets_token WHERE id IN (
           SELECT token_id FROM {movements} AS movement
            UNION SELECT id FROM wallets_token WHERE transfer_pending_id IS NOT NULL))
