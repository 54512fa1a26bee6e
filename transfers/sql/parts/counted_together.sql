-- One scan of all changes since the checkpoint, for all wallets: cheaper than a scan for each wallet if there are few.
-- `is_all` is false if the LIMIT cut it off.
lacking AS MATERIALIZED (
    SELECT wallet_id, tokens, 0 AS reserved
      FROM (SELECT * FROM transfers_transfer
             WHERE number > (SELECT coalesce(max(number), 0) FROM transfers_tallymark)
               AND state = 'completed' AND closed_event = '' ORDER BY number LIMIT {limit}) AS newest
     CROSS JOIN LATERAL (VALUES (destination_id, moved_count), (source_id, -moved_count)) AS side (wallet_id, tokens)
     UNION ALL SELECT wallet_id, tokens, 0 FROM transfers_tallydelta
     UNION ALL SELECT source_id, 0, reserved_count FROM transfers_transfer WHERE state = 'pending'
     UNION ALL SELECT sender_id, 0, token_count FROM transfers_actiontoken WHERE state = 'active'
     LIMIT {limit}
), counted AS (
    SELECT page.*, coalesce(tally.tokens, 0) + coalesce(lacking.tokens, 0) AS held,
           coalesce(lacking.reserved, 0) AS reserved, (SELECT count(*) < {limit} FROM lacking) AS is_all
      FROM page
      LEFT JOIN transfers_tokentally AS tally ON tally.wallet_id = page.id
      LEFT JOIN (SELECT wallet_id, sum(tokens)::bigint AS tokens, sum(reserved)::bigint AS reserved
                   FROM lacking GROUP BY wallet_id) AS lacking ON lacking.wallet_id = page.id
)
