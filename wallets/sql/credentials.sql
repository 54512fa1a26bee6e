-- The credentials that a request names, by their digests, and their wallet. One row, with NULL for what is missing.
SELECT api_key.id,
       api_key.revoked_at IS NOT NULL OR coalesce(api_key.expires_at <= now(), false),
       coalesce(api_key.batch_access, false),
       coalesce(api_key.last_used_at < now() - interval '1 hour', api_key.id IS NOT NULL, false)
           OR coalesce(bearer.last_used_at < now() - interval '1 hour', bearer.id IS NOT NULL, false),
       bearer.id, wallet.id, wallet.name{key_columns}{answer_columns}
  FROM (SELECT 1) AS one
  LEFT JOIN wallets_apikey AS api_key ON api_key.digest = %(api_key)s
  LEFT JOIN {bearers} AS bearer ON bearer.digest = %(bearer)s AND {is_valid}
  LEFT JOIN wallets_wallet AS wallet ON wallet.id = bearer.wallet_id
{answer_join}
