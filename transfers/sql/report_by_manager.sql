-- The same of each wallet that manages others now, together with these.
WITH total AS MATERIALIZED (
    SELECT wallet_id, sum(issued + received - sent)::bigint AS held,
           (sum(received) FILTER (WHERE day >= %(start)s::date))::bigint AS received,
           (sum(sent) FILTER (WHERE day >= %(start)s::date))::bigint AS sent,
           (sum(issued) FILTER (WHERE day >= %(start)s::date))::bigint AS issued
      FROM transfers_walletday WHERE day < %(end)s::date GROUP BY wallet_id
), member AS (
    SELECT holder_id, subject_id FROM trusts_power WHERE power = 'manage'
     UNION
    SELECT holder_id, holder_id FROM trusts_power WHERE power = 'manage'
), summed AS (
    SELECT holder_id, sum(held)::bigint AS held, sum(received)::bigint AS received, sum(sent)::bigint AS sent,
           sum(issued)::bigint AS issued, count(*) - 1 AS managed
      FROM member LEFT JOIN total ON total.wallet_id = member.subject_id GROUP BY holder_id
)
SELECT wallet.id, wallet.name, coalesce(total.held, 0), coalesce(total.received, 0), coalesce(total.sent, 0),
       coalesce(total.issued, 0), total.managed
  FROM summed AS total JOIN wallets_wallet AS wallet ON wallet.id = total.holder_id
 ORDER BY {order} LIMIT %(limit)s OFFSET %(offset)s
