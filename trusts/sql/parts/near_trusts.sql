-- The next trusts of all wallets that the wallet `actor` may see, if they are among as many as half of the wallets that it
-- manages. Each row begins with whether the page has all that it should; without trusts there is one row.
WITH near AS MATERIALIZED (
    SELECT count(*) / 2 AS most
      FROM (SELECT FROM trusts_power
             WHERE holder_id = (SELECT %(actor)s::uuid) AND power = 'manage' AND managed_created_at IS NOT NULL
             LIMIT (SELECT %(counted)s::bigint)) AS managed
), reach AS MATERIALIZED (
    SELECT CASE WHEN most = 0 THEN 0
                ELSE coalesce((SELECT number FROM trusts_trust WHERE number > (SELECT %(after)s::bigint)
                                ORDER BY number OFFSET most - 1 LIMIT 1), {last}) END AS number
      FROM near
), page AS MATERIALIZED (
    SELECT trust.id, trust.number FROM trusts_trust AS trust
     WHERE trust.number > (SELECT %(after)s::bigint) AND trust.number <= (SELECT number FROM reach)
       AND {is_visible}{filters}
     ORDER BY trust.number LIMIT (SELECT %(limit)s::bigint) OFFSET (SELECT %(offset)s::bigint)
)
SELECT whole.is_whole, shown.*
  FROM (SELECT (SELECT count(*) FROM page) = (SELECT %(limit)s::bigint)
               OR (SELECT number FROM reach) = {last} AS is_whole) AS whole
  LEFT JOIN page ON true
  {shown}
 ORDER BY page.number
