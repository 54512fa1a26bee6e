-- `recent`: the times of the transfers after the checkpoint, NULL if these are too many to read.
newer AS MATERIALIZED (
    SELECT number, created_at FROM transfers_transfer
     WHERE number > (SELECT number FROM checkpoint) ORDER BY number LIMIT {most} + 1
), recent AS MATERIALIZED (
    SELECT count(*) <= {most} AS is_known, coalesce(min(created_at), 'infinity') AS oldest_at,
           coalesce(max(newest_at - created_at), '0') AS spread
      FROM (SELECT created_at,
                   greatest((SELECT newest_at FROM checkpoint), max(created_at) OVER (ORDER BY number)) AS newest_at
              FROM newer) AS each
),
