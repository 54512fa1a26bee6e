-- What the tallies cannot derive from the transfers: those that were completed later than they were created.
INSERT INTO transfers_tallydelta (wallet_id, tokens, at)
SELECT side.wallet_id, side.tokens, transfer.closed_at
  FROM import_group
  JOIN transfers_transfer AS transfer USING (id)
 CROSS JOIN LATERAL (
           VALUES (transfer.source_id, -transfer.moved_count), (transfer.destination_id, transfer.moved_count)
       ) AS side (wallet_id, tokens)
 WHERE transfer.state = 'completed' AND transfer.closed_event <> '' AND transfer.moved_count > 0
