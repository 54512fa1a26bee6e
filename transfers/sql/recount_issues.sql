-- Adds what is missing to the list of issues, from the first movement of each token; nothing while movements are
-- detached.
INSERT INTO transfers_issue (wallet_id, tokens, issued_at)
SELECT wallet_id, found.tokens - coalesce(known.tokens, 0), clock_timestamp()
  FROM (SELECT destination_id AS wallet_id, count(*) AS tokens
          FROM transfers_movement WHERE number = 0 GROUP BY destination_id) AS found
  LEFT JOIN (SELECT wallet_id, sum(tokens) AS tokens FROM transfers_issue GROUP BY wallet_id) AS known USING (wallet_id)
 WHERE found.tokens <> coalesce(known.tokens, 0) AND NOT EXISTS (SELECT FROM transfers_detachedpartition)
