checkpoint AS MATERIALIZED (
    SELECT coalesce(max(number), 0) AS number, (SELECT max(newest_at) FROM transfers_listspan) AS newest_at
      FROM transfers_listmark
)
