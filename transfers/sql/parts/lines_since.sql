-- The transfers of the wallet since the checkpoint that completed at once. Compared as a pair: see since_checkpoint.sql.
SELECT closed_at AS at, 1 AS kind, number, moved_count AS tokens, source_id AS other_id
  FROM transfers_transfer
 WHERE (destination_id, number)
       > (%(wallet)s::uuid, (SELECT coalesce(max(number), 0) FROM transfers_tallymark))
   AND (destination_id, number) <= (%(wallet)s::uuid, 9223372036854775807)
   AND state = 'completed' AND closed_event = '' AND moved_count > 0
 UNION ALL
SELECT closed_at, 2, number, -moved_count, destination_id
  FROM transfers_transfer
 WHERE (source_id, number)
       > (%(wallet)s::uuid, (SELECT coalesce(max(number), 0) FROM transfers_tallymark))
   AND (source_id, number) <= (%(wallet)s::uuid, 9223372036854775807)
   AND state = 'completed' AND closed_event = '' AND moved_count > 0
