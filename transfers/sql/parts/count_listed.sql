(SELECT count(*) FROM wallets_token AS token
  WHERE token.id = ANY ((SELECT %(tokens)s::uuid[])::uuid[])
    AND (token.wallet_id = decision.source_id AND token.transfer_pending_id IS NULL) IS TRUE)
