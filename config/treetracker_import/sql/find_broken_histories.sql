-- Transactions that begin in another wallet than that in which the one before ended.
INSERT INTO import_finding (kind, object, id, detail, action, other)
SELECT 'history_broken', 'token', token_id,
       format('transaction %%s takes it from %%s, but it was in %%s', transaction_id, source_id, whereabouts),
       'correct', transaction_id
  FROM (SELECT step.*, coalesce(lag(step.destination_id) OVER history, token.here_wallet_id) AS whereabouts
          FROM import_step AS step JOIN import_token AS token ON token.id = step.token_id
          JOIN import_chain AS chain ON chain.token_id = step.token_id AND chain.is_broken
        WINDOW history AS (PARTITION BY step.token_id ORDER BY step.at, step.begun, step.transaction_id)) AS step
 WHERE whereabouts <> source_id
