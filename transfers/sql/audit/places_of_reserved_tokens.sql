SELECT format('token %%s is in %%s, reserved by %%s', token.id, token.wallet_id, token.transfer_pending_id)
  FROM wallets_token AS token
  LEFT JOIN transfers_transfer AS transfer ON transfer.id = token.transfer_pending_id
  LEFT JOIN transfers_actiontoken AS link ON link.id = token.transfer_pending_id
 WHERE token.transfer_pending_id IS NOT NULL
   AND coalesce(transfer.source_id, link.sender_id) IS DISTINCT FROM token.wallet_id
