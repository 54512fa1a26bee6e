-- A page of the transfers that the wallet in `me` may see, in any order. `mine`: that wallet and those that it manages.
-- `visible`: the transfers, once each, after all filters, with their sort keys. It is read whole for each page, whatever
-- its position: the cost grows with the list, or with that part of it that `dates` leaves, not with the depth. `picked`:
-- the page.
WITH {me}, mine AS MATERIALIZED ({controlled}), {dates}{asked}{few}visible AS {materialized} (
    SELECT transfer.number, {keys}
      FROM ({candidates}) AS transfer
     WHERE {condition}
), picked AS MATERIALIZED (
    SELECT * FROM visible {behind}
     ORDER BY {order}
     LIMIT (SELECT %(fetch)s::bigint) OFFSET (SELECT %(offset)s::bigint)
)
SELECT string_agg(listed.json, ',' ORDER BY place) FILTER (WHERE place < (SELECT %(fetch)s::bigint)),
       count(*) = (SELECT %(fetch)s::bigint), {last}, true, {total}
  FROM (SELECT picked.*, row_number() OVER (ORDER BY {order}) AS place FROM picked) AS placed
 CROSS JOIN LATERAL ({rows}) AS listed
