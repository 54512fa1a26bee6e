-- The numbers of the ledger that must agree, and the open transfers by state and age; the last group is older than all.
SELECT (SELECT coalesce(sum(tokens), 0) FROM transfers_issue),
       (SELECT coalesce(sum(tokens), 0) FROM transfers_tokentally)
           + (SELECT coalesce(sum(tokens), 0) FROM transfers_tallydelta),
       (SELECT count(*) FROM wallets_token WHERE transfer_pending_id IS NOT NULL),
       coalesce(sum(reserved_count), 0)
           + (SELECT coalesce(sum(token_count), 0) FROM transfers_actiontoken WHERE state = 'active'),
       count(*) FILTER (WHERE state = 'pending'),
       coalesce(sum(token_count) FILTER (WHERE state = 'pending'), 0),
       min(created_at) FILTER (WHERE state = 'pending'),
       count(*) FILTER (WHERE state = 'requested'),
       coalesce(sum(token_count) FILTER (WHERE state = 'requested'), 0),
       min(created_at) FILTER (WHERE state = 'requested'),
       EXISTS (SELECT FROM transfers_transfer),
       {groups}
  FROM (SELECT state, reserved_count, token_count, created_at,
               width_bucket(now() - created_at, %(limits)s::interval[]) AS age
          FROM transfers_transfer WHERE state IN ('requested', 'pending')) AS open
