-- A number below which nothing has happened since a time, found by bisection in some 40 steps along the index on the
-- number. An index on the time would cost every transfer.
WITH RECURSIVE halving (low, high) AS (
    SELECT 1::bigint, %(newest)s::bigint + 1
     UNION ALL
    SELECT CASE WHEN found.created_at < %(since)s::timestamptz THEN found.number + 1 ELSE halving.low END,
           CASE WHEN found.created_at < %(since)s::timestamptz THEN halving.high ELSE (low + high) / 2 END
      FROM halving LEFT JOIN LATERAL (
               SELECT number, created_at FROM {table}
                WHERE number >= (halving.low + halving.high) / 2 AND number < halving.high
                ORDER BY number LIMIT 1) AS found ON true
     WHERE halving.low < halving.high
)
SELECT max(low) FROM halving
