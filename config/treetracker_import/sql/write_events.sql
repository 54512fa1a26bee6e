-- The events of the source. One about a transfer is written as Coppice writes it.
INSERT INTO wallets_event (id, number, wallet_id, type, payload, created_at)
SELECT event.id, event.number, event.wallet_id, event.here_type, coalesce(told.payload, event.payload), event.created_at
  FROM import_event AS event
  LEFT JOIN LATERAL (
           SELECT {payload} AS payload
             FROM transfers_transfer AS transfer
             JOIN wallets_wallet AS source ON source.id = transfer.source_id
             JOIN wallets_wallet AS destination ON destination.id = transfer.destination_id
            WHERE transfer.id::text = coalesce(event.payload -> 'result' ->> 'id', event.payload ->> 'transferId')
       ) AS told ON event.type LIKE 'transfer%%'
 WHERE event.number > 0 ORDER BY event.number
