-- Imported wallets that the source changed: which fields, and whether Coppice changed one of them too.
SELECT wallet.id, string_agg(field.name, ', ' ORDER BY field.name) AS fields,
       bool_or(row.written ->> field.name IS DISTINCT FROM value.here) AS is_changed_here
  FROM import_wallet AS wallet
  JOIN treetracker_import_importedrow AS row ON row.kind = 'wallet' AND row.source_id = wallet.id
  JOIN wallets_wallet AS here ON here.id = wallet.id
 CROSS JOIN unnest(%(fields)s::text[]) AS field (name)
 CROSS JOIN LATERAL (
           SELECT CASE field.name
                      WHEN 'password' THEN encode(sha256(convert_to(
                          concat_ws('$', wallet.salt, wallet.password), 'UTF8')), 'hex')
                      ELSE coalesce(to_jsonb(wallet) ->> field.name, '') END AS there,
                  CASE field.name
                      WHEN 'password' THEN encode(sha256(convert_to(here.password, 'UTF8')), 'hex')
                      ELSE coalesce(to_jsonb(here) ->> field.name, '') END AS here
       ) AS value
 WHERE value.there IS DISTINCT FROM row.source ->> field.name AND NOT wallet.is_placeholder
 GROUP BY wallet.id
