-- Open transfers of listed tokens that are not free in the source wallet; of requested ones only tokens that cannot be.
INSERT INTO import_finding (kind, object, id, detail, action)
SELECT 'listed_elsewhere', 'transfer', planned.id,
       format('%%s: %%s of %%s tokens are not in %%s, such as %%s', planned.state, count(*), planned.token_count,
              planned.source_id, min(listed.token)), 'fail'
  FROM import_group AS planned
  JOIN import_listed AS listed ON listed.transfer_id = planned.id
  LEFT JOIN import_token AS token ON token.id = listed.token_id
 WHERE NOT planned.is_known
   AND (planned.state = 'pending'
        AND (token.id IS NULL OR token.is_kept_here OR token.wallet_id <> planned.source_id
             OR token.here_pending_id IS NOT NULL)
        OR planned.state = 'requested' AND listed.token_id IS NULL)
   AND NOT EXISTS (SELECT FROM import_finding AS finding WHERE finding.id = planned.id AND finding.action = 'fail')
 GROUP BY planned.id, planned.state, planned.token_count, planned.source_id, planned.created_at
 ORDER BY planned.created_at, planned.id
