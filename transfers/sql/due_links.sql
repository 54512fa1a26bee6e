-- The active claim links that have expired, the earliest first, with no more tokens than one statement frees: at least
-- one.
SELECT id
  FROM (SELECT id, expires_at, sum(token_count) OVER (ORDER BY expires_at, id) AS tokens,
               row_number() OVER (ORDER BY expires_at, id) AS place
          FROM (SELECT id, expires_at, token_count FROM transfers_actiontoken
                 WHERE state = 'active' AND expires_at <= statement_timestamp()
                 ORDER BY expires_at LIMIT %(links)s) AS first) AS due
 WHERE tokens <= %(tokens)s OR place = 1
 ORDER BY place
