-- The JSON object of a wallet in lists, up to its token counts: the fields of WALLET_EXAMPLE in
-- config/api/treetracker/wallet_serializers.py. The column wallets_wallet.written is generated from it.
-- concat, to_json and to_char are only STABLE in general, because settings and locales can change their results; for
-- these types and this format they do not.
CREATE FUNCTION wallets_written(id uuid, name text, about text, logo_url text, created_at timestamptz)
RETURNS text LANGUAGE sql IMMUTABLE PARALLEL SAFE AS $$
    SELECT concat('{"id":"', id, '","name":', to_json(name), ',"about":', coalesce(to_json(nullif(about, '')), 'null'),
                  ',"logo_url":', coalesce(to_json(logo_url), 'null'), ',"created_at":"',
                  to_char(created_at AT TIME ZONE 'UTC', 'YYYY-MM-DD"T"HH24:MI:SS.MS"Z"'), '"')
$$;
