-- What the source said, what Coppice had after the import, and what was done: for rows that may change again, and for
-- those that are not as they were. A value that the source did not change since keeps what was written for it then.
INSERT INTO treetracker_import_importedrow AS recorded (kind, source_id, source, written, note)
SELECT row.kind, row.id, row.source, row.written, coalesce(found.text, '') FROM (
    SELECT 'wallet' AS kind, wallet.id, jsonb_object_agg(field.name, value.there) AS source,
           jsonb_object_agg(field.name,
               CASE value.there WHEN old.source ->> field.name THEN old.written ->> field.name
                                                            ELSE value.here END) AS written
      FROM import_wallet AS wallet JOIN wallets_wallet AS here ON here.id = wallet.id
      LEFT JOIN treetracker_import_importedrow AS old ON old.kind = 'wallet' AND old.source_id = wallet.id
     CROSS JOIN unnest(%(fields)s::text[]) AS field (name)
     CROSS JOIN LATERAL (
               SELECT CASE field.name
                          WHEN 'password' THEN encode(sha256(convert_to(
                              concat_ws('$', wallet.salt, wallet.password), 'UTF8')), 'hex')
                          ELSE coalesce(to_jsonb(wallet) ->> field.name, '') END AS there,
                      CASE field.name
                          WHEN 'password' THEN encode(sha256(convert_to(here.password, 'UTF8')), 'hex')
                          ELSE coalesce(to_jsonb(here) ->> field.name, '') END AS here) AS value
     WHERE wallet.is_new OR NOT wallet.is_placeholder
     GROUP BY wallet.id
     UNION ALL
    SELECT 'trust', trust.id, jsonb_build_object(
               'actor', actor_wallet_id, 'target', target_wallet_id, 'originator', originator_wallet_id,
               'request_type', trust.request_type, 'state', trust.source_state, 'created_at', trust.created_at),
           CASE WHEN here.id IS NULL THEN '{}'
                WHEN old.source ->> 'state' = trust.source_state THEN old.written
                ELSE jsonb_build_object('state', here.state) END
      FROM import_trust AS trust LEFT JOIN trusts_trust AS here ON here.id = trust.id
      LEFT JOIN treetracker_import_importedrow AS old ON old.kind = 'trust' AND old.source_id = trust.id
     UNION ALL
    SELECT 'key', id, jsonb_build_object('refused', is_refused),
           CASE fate WHEN 'left_out' THEN '{}' ELSE jsonb_build_object('refused', is_refused) END
      FROM import_key
     UNION ALL
    SELECT 'transfer', planned.id, jsonb_build_object('state', transfer.state, 'parameters', transfer.parameters),
           jsonb_build_object('state', planned.state)
      FROM import_group AS planned JOIN import_transfer AS transfer ON transfer.id = planned.id
     WHERE transfer.state IN ('requested', 'pending') OR transfer.state <> planned.state OR planned.is_known
     UNION ALL
    SELECT 'transfer', transfer.id, jsonb_build_object('state', transfer.state, 'parameters', transfer.parameters),
           CASE fate WHEN 'left_out' THEN '{}' ELSE jsonb_build_object('state', here.state) END
      FROM import_transfer AS transfer LEFT JOIN transfers_transfer AS here ON here.id = transfer.id
     WHERE fate IN ('left_out', 'kept')
     UNION ALL
    SELECT 'token', id, jsonb_build_object('wallet', wallet_id, 'until', %(at)s::timestamptz),
           jsonb_build_object('wallet', here_wallet_id)
      FROM import_token WHERE is_decided
     UNION ALL
    SELECT object, id, '{}', '{}' FROM import_finding WHERE object IN ('event', 'link')
     UNION ALL
    SELECT 'correction', id, '{}', jsonb_build_object('tokens', token_count) FROM import_group WHERE is_made
) AS row
  LEFT JOIN (SELECT id,
                    left(string_agg(format('%%s: %%s (%%s)', kind, detail, action), '; ' ORDER BY place), 500) AS text
               FROM import_finding WHERE object IN ('wallet', 'trust', 'key', 'transfer', 'event', 'link')
              GROUP BY id) AS found
    ON found.id = row.id
    ON CONFLICT (kind, source_id) DO UPDATE
   SET source = excluded.source, written = excluded.written,
       note = CASE excluded.note WHEN '' THEN recorded.note ELSE excluded.note END
