-- The new transfers with the numbers after `first` up to `last`.
INSERT INTO transfers_transfer (
       id, number, originator_id, source_id, destination_id, parameters, state, token_count, reserved_count,
       moved_count, created_at, closed_at, closed_event, closed_from)
SELECT id, number, originator_id, source_id, destination_id, parameters, state, token_count, reserved_count,
       moved_count, created_at, closed_at, closed_event, closed_from
  FROM import_group WHERE number > %(first)s AND number <= %(last)s ORDER BY number
