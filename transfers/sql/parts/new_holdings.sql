(
    SELECT * FROM wallets_token WHERE wallet_id IN (SELECT id FROM {wallets} AS wallet))
