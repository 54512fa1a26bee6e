-- What all wallets were issued and what moved between them, by month (UTC), and what there was at the end of each.
SELECT month, held, moved, issued, arrivals
  FROM (SELECT date_trunc('month', day)::date AS month, sum(received)::bigint AS moved, sum(issued)::bigint AS issued,
               (sum(sum(issued)) OVER (ORDER BY date_trunc('month', day)))::bigint AS held,
               sum(lines)::bigint AS arrivals
          FROM transfers_walletday WHERE day < %(end)s::date GROUP BY date_trunc('month', day)) AS counted
 WHERE month >= date_trunc('month', %(start)s::date)::date
 ORDER BY month
