-- Where the kept transactions of each token begin and end, and whether each begins where the one before ended.
INSERT INTO import_chain (token_id, first_at, first_source, last_at, last_destination, is_broken)
SELECT token_id, min(at), (array_agg(source_id) FILTER (WHERE is_first))[1],
       max(at), (array_agg(destination_id) FILTER (WHERE is_last))[1], bool_or(whereabouts <> source_id)
  FROM (SELECT step.token_id, step.at, step.source_id, step.destination_id,
               lag(step.token_id) OVER history IS NULL AS is_first, lead(step.token_id) OVER history IS NULL AS is_last,
               coalesce(lag(step.destination_id) OVER history, token.here_wallet_id) AS whereabouts
          FROM import_step AS step JOIN import_token AS token ON token.id = step.token_id
        WINDOW history AS (PARTITION BY step.token_id ORDER BY step.at, step.begun, step.transaction_id)) AS step
 GROUP BY token_id
