-- The event of each transfer that the import closed as failed, for both parties.
INSERT INTO wallets_event (id, number, wallet_id, type, payload, created_at)
SELECT gen_random_uuid(), nextval('wallets_event_number'), party.id, 'transfer_failed', {payload}, %(now)s::timestamptz
  FROM import_group AS planned
  JOIN transfers_transfer AS transfer ON transfer.id = planned.id
  JOIN wallets_wallet AS source ON source.id = transfer.source_id
  JOIN wallets_wallet AS destination ON destination.id = transfer.destination_id
 CROSS JOIN LATERAL (VALUES (transfer.source_id), (transfer.destination_id)) AS party (id)
 WHERE planned.state = 'failed' AND planned.closed_event = 'expire'
 ORDER BY transfer.number
