-- A page of transfers of the wallets in `party`, in an order that indexes have. `mine`: the wallet in `me` and those that
-- it manages. `picked`: the page.
WITH {me}, mine AS MATERIALIZED ({controlled}), party AS MATERIALIZED ({party}), wanted AS MATERIALIZED (
    SELECT %(offset)s::bigint + %(fetch)s::bigint AS rows
), {times}{kept}{groups}, picked AS MATERIALIZED (
    SELECT * FROM ({all}) AS grouped ORDER BY {order}
     LIMIT (SELECT %(fetch)s::bigint) OFFSET (SELECT %(offset)s::bigint)
)
SELECT string_agg(listed.json, ',' ORDER BY position) FILTER (WHERE position < (SELECT %(fetch)s::bigint)),
       count(*) = (SELECT %(fetch)s::bigint), {last}, {is_whole}, {total}
  FROM (SELECT picked.*, row_number() OVER (ORDER BY {order}) AS position FROM picked) AS placed
 CROSS JOIN LATERAL ({rows}) AS listed
