-- The events of some wallets whose number is in a range, in order. An event is stored, or derived from a transfer
-- (party 0: the wallet sends, 1: it receives), as in events_page.sql.
SELECT event.number, 0 AS party, event.id, event.wallet_id, event.type, event.created_at, event.payload::text
  FROM wallets_event AS event
 WHERE event.number > %(after)s AND event.number <= %(upto)s AND event.wallet_id = ANY (%(wallets)s::uuid[])
 UNION ALL
SELECT transfer.number, side.party, md5(transfer.id::text || side.party)::uuid, side.wallet_id,
       CASE WHEN first.state = 'completed' THEN 'transfer_completed'
            WHEN transfer.approval_of = 'send' THEN 'transfer_approval_requested'
            ELSE 'transfer_requested' END,
       transfer.created_at, ({payload})::text
  FROM transfers_transfer AS transfer
 CROSS JOIN LATERAL (VALUES (0, transfer.source_id), (1, transfer.destination_id)) AS side (party, wallet_id)
  JOIN wallets_wallet AS source ON source.id = transfer.source_id
  JOIN wallets_wallet AS destination ON destination.id = transfer.destination_id
 CROSS JOIN LATERAL (SELECT {state_as_created}) AS first (state)
 WHERE transfer.number > %(after)s AND transfer.number <= %(upto)s AND side.wallet_id = ANY (%(wallets)s::uuid[])
 ORDER BY 1, 2
