-- The movements from the place after `first` up to `last`.
INSERT INTO transfers_movement (id, token_id, number, transfer_number, source_id, destination_id, processed_at)
SELECT %(base)s::bigint + place, token_id, number, transfer_number, source_id, destination_id, at
  FROM import_movement WHERE place > %(first)s AND place <= %(last)s
