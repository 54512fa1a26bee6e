-- The tokens that the wallet held just before {moment}: the days before, what is in no day yet, and the day itself.
((SELECT coalesce(sum(issued + received - sent), 0) FROM transfers_walletday
   WHERE wallet_id = %(wallet)s::uuid AND day < ({moment} AT TIME ZONE 'UTC')::date)
 + (SELECT coalesce(sum(tokens), 0) FROM transfers_tallydelta
     WHERE wallet_id = %(wallet)s::uuid AND at < {midnight})
 + (SELECT coalesce(sum(tokens), 0) FROM ({since}) AS moved WHERE moved.at < {midnight})
 + (SELECT coalesce(sum(tokens), 0) FROM ({lines}) AS line))::bigint
