-- What all wallets were issued and what moved between them, by month (UTC), and what there was at the end of each: from
-- the first month in which there was a token, months without movements included.
WITH counted AS (
    SELECT date_trunc('month', day)::date AS month, sum(received)::bigint AS moved, sum(issued)::bigint AS issued,
           sum(lines)::bigint AS arrivals
      FROM transfers_walletday WHERE day < %(end)s::date GROUP BY date_trunc('month', day)
), last AS (
    SELECT least(%(end)s::date - 1, greatest((now() AT TIME ZONE 'UTC')::date, max(month))) AS day FROM counted
), each AS (
    SELECT month::date AS month
      FROM generate_series((SELECT min(month) FROM counted)::timestamp, (SELECT day FROM last)::timestamp,
                           interval '1 month') AS month
)
SELECT month, held, moved, issued, arrivals
  FROM (SELECT month, coalesce(moved, 0) AS moved, coalesce(issued, 0) AS issued, coalesce(arrivals, 0) AS arrivals,
               (sum(coalesce(issued, 0)) OVER (ORDER BY month))::bigint AS held
          FROM each LEFT JOIN counted USING (month)) AS summed
 WHERE month >= date_trunc('month', %(start)s::date)::date
 ORDER BY month
