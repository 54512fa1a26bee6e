-- The same of each wallet that manages others now, together with these.
SELECT manager.id, manager.name, coalesce(total.held, 0), coalesce(total.received, 0), coalesce(total.sent, 0),
       coalesce(total.issued, 0), total.managed
  FROM (SELECT id, name, name_key FROM wallets_wallet AS wallet
         WHERE name_key > coalesce((SELECT shown.name_key FROM wallets_wallet AS shown WHERE id = %(after)s::uuid), '')
           AND EXISTS (SELECT FROM trusts_power WHERE holder_id = wallet.id AND power = 'manage')
         ORDER BY name_key LIMIT %(limit)s) AS manager
 CROSS JOIN LATERAL (
       SELECT sum(held)::bigint AS held, sum(received)::bigint AS received, sum(sent)::bigint AS sent,
              sum(issued)::bigint AS issued, count(*) - 1 AS managed
         FROM (SELECT subject_id FROM trusts_power WHERE holder_id = manager.id AND power = 'manage'
                UNION SELECT manager.id) AS member
        CROSS JOIN LATERAL (
              SELECT sum(issued + received - sent) AS held,
                     sum(received) FILTER (WHERE day >= %(start)s::date) AS received,
                     sum(sent) FILTER (WHERE day >= %(start)s::date) AS sent,
                     sum(issued) FILTER (WHERE day >= %(start)s::date) AS issued
                FROM transfers_walletday WHERE wallet_id = member.subject_id AND day < %(end)s::date) AS days) AS total
 ORDER BY manager.name_key
