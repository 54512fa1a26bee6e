-- The open transfers that have expired, the earliest first, with no more tokens than one statement frees: at least one.
SELECT id
  FROM (SELECT id, expires_at, number, sum(reserved_count) OVER (ORDER BY expires_at, number) AS tokens,
               row_number() OVER (ORDER BY expires_at, number) AS place
          FROM (SELECT id, expires_at, number, reserved_count FROM transfers_transfer
                 WHERE state IN ('requested', 'pending') AND expires_at <= statement_timestamp()
                 ORDER BY expires_at LIMIT %(transfers)s) AS first) AS due
 WHERE tokens <= %(tokens)s OR place = 1
 ORDER BY place
