-- The new API keys, as digests; one that the source refuses is revoked.
INSERT INTO wallets_apikey (id, name, prefix, digest, batch_access, created_at, revoked_at)
SELECT id, name, prefix, digest, batch, %(now)s::timestamptz, CASE WHEN is_refused THEN %(now)s::timestamptz END
  FROM import_key WHERE fate = 'new'
