SELECT format('token %%s is in %%s, reserved by %%s', token.id, token.wallet_id, token.transfer_pending_id)
  FROM wallets_token AS token
  LEFT JOIN transfers_transfer AS transfer ON transfer.id = token.transfer_pending_id
 WHERE token.transfer_pending_id IS NOT NULL
   AND (transfer.id IS NULL OR transfer.source_id <> token.wallet_id)
