-- All steps in the order of time, numbered within each token, with the numbers of their transfers.
INSERT INTO import_movement (place, token_id, number, transfer_number, source_id, destination_id, at, is_last)
SELECT row_number() OVER (ORDER BY step.at, step.begun, step.transaction_id, step.rank, step.token_id), step.token_id,
       coalesce(token.here_moves, -1) + row_number() OVER history, numbered.number, step.source_id,
       step.destination_id, step.at, lead(step.token_id) OVER history IS NULL
  FROM import_step AS step JOIN import_token AS token ON token.id = step.token_id
  LEFT JOIN import_number AS numbered ON numbered.id = step.group_id
WINDOW history AS (PARTITION BY step.token_id ORDER BY step.at, step.begun, step.transaction_id, step.rank)
