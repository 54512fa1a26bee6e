-- The transfers of the source as they will stand, except which pending ones keep their tokens: that is decided later.
INSERT INTO import_group (id, originator_id, source_id, destination_id, parameters, state, token_count, reserved_count,
                          moved_count, created_at, closed_at, closed_event, closed_from, is_made, is_known)
SELECT transfer.id, originator_wallet_id, source_wallet_id, destination_wallet_id,
       CASE WHEN counted.tokens = 0 OR counted.tokens IS NULL THEN '{"tokens": []}'
            WHEN jsonb_typeof(parameters -> 'tokens') = 'array'
            THEN jsonb_build_object('tokens', coalesce(moved.tokens, parameters -> 'tokens'))
            ELSE jsonb_build_object('bundle', jsonb_build_object('bundleSize', counted.tokens)) END,
       CASE transfer.fate WHEN 'fail' THEN 'failed' ELSE transfer.state END, coalesce(counted.tokens, 0), 0,
       CASE WHEN transfer.state = 'completed' AND transfer.fate <> 'fail' THEN coalesce(counted.tokens, 0) ELSE 0 END,
       transfer.created_at,
       CASE WHEN transfer.state = 'completed' THEN greatest(transfer.created_at, steps.last_at)
            WHEN transfer.state NOT IN ('requested', 'pending')
            THEN greatest(transfer.created_at, transfer.closed_at) END,
       CASE WHEN transfer.fate = 'fail' THEN 'expire'
            WHEN transfer.state = 'completed' AND (steps.last_at > transfer.created_at OR transfer.fate = 'complete')
            THEN CASE began.state WHEN 'requested' THEN 'fulfill' ELSE 'accept' END
            WHEN transfer.state = 'cancelled' THEN coalesce(ended.event, '') ELSE '' END,
       CASE WHEN transfer.state = 'completed' AND NOT coalesce(steps.last_at > transfer.created_at, false)
              OR transfer.state IN ('requested', 'pending') THEN '' ELSE began.state END,
       false, transfer.fate <> 'new'
  FROM import_transfer AS transfer
  LEFT JOIN (SELECT group_id, count(*) AS tokens, max(at) AS last_at FROM import_step WHERE rank = 2 GROUP BY group_id
            ) AS steps ON steps.group_id = transfer.id
  LEFT JOIN import_list AS list ON list.transfer_id = transfer.id
 CROSS JOIN LATERAL (
           SELECT CASE WHEN transfer.state = 'completed' THEN coalesce(steps.tokens, 0)
                       WHEN list.transfer_id IS NOT NULL THEN list.tokens ELSE transfer.size END AS tokens
       ) AS counted
  LEFT JOIN (SELECT step.group_id, jsonb_agg(step.token_id ORDER BY step.token_id) AS tokens
               FROM import_list AS other JOIN import_step AS step ON step.group_id = other.transfer_id AND step.rank = 2
              WHERE other.is_to_rewrite GROUP BY step.group_id) AS moved ON moved.group_id = transfer.id
 CROSS JOIN LATERAL (
           SELECT CASE WHEN originator_wallet_id <> source_wallet_id
                        AND (originator_wallet_id = destination_wallet_id
                             OR EXISTS (SELECT FROM import_power AS power
                                         WHERE power.holder_id = originator_wallet_id
                                           AND power.subject_id = destination_wallet_id))
                       THEN 'requested' ELSE 'pending' END AS state
       ) AS began
  LEFT JOIN import_ending AS ended ON ended.transfer_id = transfer.id
 WHERE transfer.fate NOT IN ('left_out', 'kept')
