-- The pending bundles, by wallet and age: how many tokens each still needs, and how many the source reserves for it.
SELECT planned.source_id, planned.id, coalesce(broken.missing, planned.token_count) AS missing,
       CASE WHEN broken.id IS NULL THEN coalesce(held.tokens, 0) ELSE 0 END AS held
  FROM import_group AS planned
  LEFT JOIN import_broken AS broken ON broken.id = planned.id
  LEFT JOIN (SELECT transfer_pending_id, count(*) AS tokens FROM import_token GROUP BY 1) AS held
    ON held.transfer_pending_id = planned.id
 WHERE planned.state = 'pending' AND planned.parameters ? 'bundle'
   AND NOT EXISTS (SELECT FROM import_finding AS finding WHERE finding.id = planned.id AND finding.action = 'fail')
 ORDER BY planned.source_id, planned.created_at, planned.id
