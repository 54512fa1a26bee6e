-- A correction at the end of each history that does not end where the token is.
INSERT INTO import_step (token_id, at, begun, transaction_id, rank, group_id, source_id, destination_id)
SELECT token.id, greatest(%(now)s::timestamptz, chain.last_at), 'infinity', token.id, 3,
       md5(concat_ws(' ', 'correction', %(run)s::text, finding.other, token.wallet_id))::uuid,
       finding.other, token.wallet_id
  FROM import_finding AS finding
  JOIN import_token AS token ON token.id = finding.id
  LEFT JOIN import_chain AS chain ON chain.token_id = token.id
 WHERE finding.kind = 'token_elsewhere' AND finding.action = 'correct'
