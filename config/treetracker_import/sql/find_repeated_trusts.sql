-- Open trusts of the same meaning: one is kept, the trusted before the requested one, then the oldest. One that is in
-- force in Coppice and did not come from the source is kept before all.
INSERT INTO import_finding (kind, object, id, detail, action, other)
SELECT 'trust_repeated', 'trust', id,
       format('%%s %%s from %%s to %%s, as %%s', state, request_type, actor_wallet_id, target_wallet_id, kept),
       'leave_out', kept
  FROM (SELECT *, row_number() OVER same AS place, first_value(id) OVER same AS kept
          FROM (SELECT id, actor_wallet_id, target_wallet_id, request_type, state, created_at,
                       CASE fate WHEN 'known' THEN 0 ELSE 1 END AS side
                  FROM import_trust WHERE fate <> 'left_out' AND state IN ('requested', 'trusted')
                 UNION ALL
                SELECT id, actor_id, target_id, request_type, state, created_at, 0
                  FROM trusts_trust AS here WHERE state IN ('requested', 'trusted')
                   AND NOT EXISTS (SELECT FROM import_trust AS trust WHERE trust.id = here.id)) AS open_trust
        WINDOW same AS (PARTITION BY actor_wallet_id, target_wallet_id, request_type
                            ORDER BY side, state DESC, created_at, id)) AS found
 WHERE place > 1 AND side = 1
