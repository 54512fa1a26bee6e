(
    SELECT * FROM transfers_actiontoken WHERE state = 'active' OR id IN (
           SELECT transfer_pending_id FROM wallets_token WHERE transfer_pending_id IS NOT NULL
            UNION SELECT id FROM {numbered} AS transfer))
