SELECT format('trust %%s', trust.id)
  FROM trusts_trust AS trust
  JOIN wallets_wallet AS wallet ON wallet.id = trust.subject_id
 WHERE trust.type = 'manage'
   AND (trust.managed_created_at, trust.managed_name, trust.managed_name_key, trust.managed_has_password)
       IS DISTINCT FROM (wallet.created_at, wallet.name, wallet.name_key, wallet.password <> '')
