-- All steps in the order of time, and numbered within each token.
INSERT INTO import_movement (place, token_id, number, group_id, source_id, destination_id, at, is_last)
SELECT row_number() OVER (ORDER BY step.at, step.begun, step.transaction_id, step.rank, step.token_id), step.token_id,
       coalesce(token.here_moves, -1) + row_number() OVER history, step.group_id, step.source_id, step.destination_id,
       step.at, lead(step.token_id) OVER history IS NULL
  FROM import_step AS step JOIN import_token AS token ON token.id = step.token_id
WINDOW history AS (PARTITION BY step.token_id ORDER BY step.at, step.begun, step.transaction_id, step.rank)
