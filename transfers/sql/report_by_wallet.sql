-- What each wallet, by name, held at the end of a period, and what it received, sent and was issued in it, by whole
-- days (UTC). A page reads the days of its wallets alone.
SELECT wallet.id, wallet.name, coalesce(total.held, 0), coalesce(total.received, 0), coalesce(total.sent, 0),
       coalesce(total.issued, 0)
  FROM (SELECT id, name, name_key FROM wallets_wallet
         WHERE name_key > coalesce((SELECT shown.name_key FROM wallets_wallet AS shown WHERE id = %(after)s::uuid), '')
         ORDER BY name_key LIMIT %(limit)s) AS wallet
 CROSS JOIN LATERAL (
       SELECT sum(issued + received - sent)::bigint AS held,
              (sum(received) FILTER (WHERE day >= %(start)s::date))::bigint AS received,
              (sum(sent) FILTER (WHERE day >= %(start)s::date))::bigint AS sent,
              (sum(issued) FILTER (WHERE day >= %(start)s::date))::bigint AS issued
         FROM transfers_walletday WHERE wallet_id = wallet.id AND day < %(end)s::date) AS total
 ORDER BY wallet.name_key
