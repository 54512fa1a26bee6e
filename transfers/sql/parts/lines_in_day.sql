-- The transfers that completed at once on the day `known` of its wallet, up to the checkpoint, by its lowest and highest
-- number. `number + 0`, so that no index on the number alone serves the checkpoint: it would read all wallets.
SELECT closed_at AS at, 1 AS kind, number, moved_count AS tokens, source_id AS other_id
  FROM transfers_transfer
 WHERE destination_id = %(wallet)s::uuid AND number >= known.first_number AND number <= known.last_number
   AND number + 0 <= (SELECT coalesce(max(number), 0) FROM transfers_tallymark)
   AND state = 'completed' AND closed_event = '' AND moved_count > 0
   AND (closed_at AT TIME ZONE 'UTC')::date = known.day
 UNION ALL
SELECT closed_at, 2, number, -moved_count, destination_id
  FROM transfers_transfer
 WHERE source_id = %(wallet)s::uuid AND number >= known.first_number AND number <= known.last_number
   AND number + 0 <= (SELECT coalesce(max(number), 0) FROM transfers_tallymark)
   AND state = 'completed' AND closed_event = '' AND moved_count > 0
   AND (closed_at AT TIME ZONE 'UTC')::date = known.day
