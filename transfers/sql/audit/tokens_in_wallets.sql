SELECT format('token %%s is in %%s', token.id, token.wallet_id)
  FROM {tokens} AS token LEFT JOIN wallets_wallet AS wallet ON wallet.id = token.wallet_id
 WHERE wallet.id IS NULL
