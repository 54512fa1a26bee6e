-- `spread`: by how much a transfer is at most older than one with a lower number: as kept up to the checkpoint, and of
-- those after it; NULL if these are too many.
newer AS MATERIALIZED (
    SELECT number, created_at FROM transfers_transfer
     WHERE number > (SELECT number FROM checkpoint) ORDER BY number LIMIT {most} + 1
), spread AS MATERIALIZED (
    SELECT CASE WHEN count(*) <= {most}
                THEN greatest((SELECT spread FROM checkpoint), max(newest_at - created_at)) END AS most
      FROM (SELECT created_at,
                   greatest((SELECT newest_at FROM checkpoint), max(created_at) OVER (ORDER BY number)) AS newest_at
              FROM newer) AS each
),
