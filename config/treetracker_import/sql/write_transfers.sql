-- The new transfers with the numbers after `first` up to `last`.
INSERT INTO transfers_transfer (
       id, number, originator_id, source_id, destination_id, parameters, state, token_count, reserved_count,
       moved_count, created_at, closed_at, closed_event, closed_from)
SELECT id, numbered.number, originator_id, source_id, destination_id, parameters, state, token_count, reserved_count,
       moved_count, created_at, closed_at, closed_event, closed_from
  FROM import_group JOIN import_number AS numbered USING (id)
 WHERE NOT numbered.is_known AND numbered.number > %(first)s AND numbered.number <= %(last)s
 ORDER BY numbered.number
