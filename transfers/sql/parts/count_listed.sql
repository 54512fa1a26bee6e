SELECT count(*)
  FROM unnest((SELECT %(tokens)s::uuid[])) AS listed (id) JOIN wallets_token AS token ON token.id = listed.id
 WHERE (token.wallet_id = decision.source_id AND token.transfer_pending_id IS NULL) IS TRUE
