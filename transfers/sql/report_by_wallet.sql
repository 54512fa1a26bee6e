-- What each wallet held at the end of a period, and what it received, sent and was issued in it, by whole days (UTC).
SELECT wallet.id, wallet.name, coalesce(total.held, 0), coalesce(total.received, 0), coalesce(total.sent, 0),
       coalesce(total.issued, 0)
  FROM wallets_wallet AS wallet
  LEFT JOIN (SELECT wallet_id, sum(issued + received - sent)::bigint AS held,
               (sum(received) FILTER (WHERE day >= %(start)s::date))::bigint AS received,
               (sum(sent) FILTER (WHERE day >= %(start)s::date))::bigint AS sent,
               (sum(issued) FILTER (WHERE day >= %(start)s::date))::bigint AS issued
          FROM transfers_walletday WHERE day < %(end)s::date GROUP BY wallet_id) AS total
    ON total.wallet_id = wallet.id
 ORDER BY {order} LIMIT %(limit)s OFFSET %(offset)s
