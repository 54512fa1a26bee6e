WITH page AS MATERIALIZED (
    SELECT %(after)s::bigint AS after, %(most)s::bigint AS fetch
), party AS MATERIALIZED ({wallets}
), head AS MATERIALIZED (
    SELECT wallet.id, first.branch, first.number
      FROM party AS wallet CROSS JOIN LATERAL ({heads}) AS first
), reach AS MATERIALIZED (
    SELECT CASE count(*) WHEN (SELECT page.fetch FROM page) THEN max(number) ELSE 9223372036854775807 END AS number
      FROM (SELECT DISTINCT number FROM head ORDER BY number LIMIT (SELECT page.fetch FROM page)) AS nearest
)
SELECT DISTINCT within.number
  FROM head CROSS JOIN LATERAL ({reaches}) AS within
 WHERE head.number <= (SELECT reach.number FROM reach)
 ORDER BY within.number {page}
