-- What the tallies cannot derive from the transfers: those that were completed later than they were created.
INSERT INTO transfers_tallydelta (wallet_id, tokens)
SELECT side.wallet_id, sum(side.tokens)
  FROM import_group
 CROSS JOIN LATERAL (VALUES (source_id, -moved_count), (destination_id, moved_count)) AS side (wallet_id, tokens)
 WHERE state = 'completed' AND closed_event <> '' GROUP BY side.wallet_id HAVING sum(side.tokens) <> 0
