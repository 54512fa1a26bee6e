-- The movements from the place after `first` up to `last`.
INSERT INTO transfers_movement (id, token_id, number, transfer_number, source_id, destination_id, processed_at)
SELECT %(base)s::bigint + movement.place, movement.token_id, movement.number, planned.number, movement.source_id,
       movement.destination_id, movement.at
  FROM import_movement AS movement LEFT JOIN import_group AS planned ON planned.id = movement.group_id
 WHERE movement.place > %(first)s AND movement.place <= %(last)s
 ORDER BY movement.place
