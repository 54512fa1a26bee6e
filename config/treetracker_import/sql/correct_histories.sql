-- A correction before each transaction that begins elsewhere: one transfer for each pair of wallets.
INSERT INTO import_step (token_id, at, begun, transaction_id, rank, group_id, source_id, destination_id)
SELECT token_id, at, begun, transaction_id, 1,
       md5(concat_ws(' ', 'correction', %(run)s::text, whereabouts, source_id))::uuid, whereabouts, source_id
  FROM (SELECT step.*, coalesce(lag(step.destination_id) OVER history, token.here_wallet_id) AS whereabouts
          FROM import_step AS step JOIN import_token AS token ON token.id = step.token_id
          JOIN import_chain AS chain ON chain.token_id = step.token_id AND chain.is_broken
        WINDOW history AS (PARTITION BY step.token_id ORDER BY step.at, step.begun, step.transaction_id)) AS step
 WHERE whereabouts <> source_id
