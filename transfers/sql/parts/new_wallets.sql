(
    SELECT * FROM wallets_wallet WHERE id IN (
           SELECT unnest(ARRAY[source_id, destination_id]) FROM transfers_movement WHERE id > %(newest_movement)s
            UNION SELECT unnest(ARRAY[source_id, destination_id]) FROM {transfers} AS transfer))
