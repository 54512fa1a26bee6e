-- What moved tokens into the wallet (positive) or out of it, from {start} on and before {end}. `kind` is 0 for an issue, 1
-- for a transfer that arrived, 2 for one that left; with `at` and `number` it is a line's position.
-- Late transfers are read from the indexes by time of closing, whose condition is repeated. `IS TRUE` hides the others: an
-- index that they imply has late transfers of all wallets and times.
SELECT issued_at AS at, 0 AS kind, id AS number, tokens, NULL::uuid AS other_id
  FROM transfers_issue
 WHERE wallet_id = %(wallet)s::uuid AND issued_at >= {start} AND issued_at < {end}
 UNION ALL
SELECT closed_at, 1, number, moved_count, source_id
  FROM transfers_transfer
 WHERE destination_id = %(wallet)s::uuid AND closed_at >= {start} AND closed_at < {end}
   AND (closed_at <> created_at OR closed_event <> '')
   AND (state = 'completed' AND closed_event <> '' AND moved_count > 0) IS TRUE
 UNION ALL
SELECT closed_at, 2, number, -moved_count, destination_id
  FROM transfers_transfer
 WHERE source_id = %(wallet)s::uuid AND closed_at >= {start} AND closed_at < {end}
   AND (closed_at <> created_at OR closed_event <> '')
   AND (state = 'completed' AND closed_event <> '' AND moved_count > 0) IS TRUE
 UNION ALL
SELECT moved.*
  FROM (SELECT day, first_number, {last_number} AS last_number
          FROM transfers_walletday
         WHERE wallet_id = %(wallet)s::uuid AND first_number IS NOT NULL
           AND day >= ({start} AT TIME ZONE 'UTC')::date AND day <= ({end} AT TIME ZONE 'UTC')::date
        OFFSET 0) AS known
 CROSS JOIN LATERAL ({in_day}) AS moved
 WHERE moved.at >= {start} AND moved.at < {end}
 UNION ALL
SELECT * FROM ({since}) AS moved WHERE moved.at >= {start} AND moved.at < {end}
