-- The issue of each new token: into the wallet from which its first transaction takes it.
INSERT INTO import_step (token_id, at, begun, transaction_id, rank, destination_id)
SELECT token.id, least(token.created_at, chain.first_at), '-infinity', token.id, 0,
       coalesce(chain.first_source, token.wallet_id)
  FROM import_token AS token LEFT JOIN import_chain AS chain ON chain.token_id = token.id
 WHERE token.is_new
