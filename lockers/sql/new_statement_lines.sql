-- Lines after one that is sealed that do not continue the statement of their wallet.
SELECT concat(line.wallet_id, ' ', line.number)
  FROM lockers_statementline AS line
  LEFT JOIN lockers_statementline AS earlier
    ON earlier.wallet_id = line.wallet_id AND earlier.number = line.number - 1
 WHERE line.id > %(after)s
   AND (line.running_balance <> coalesce(earlier.running_balance, 0) + line.amount
        OR (earlier.id IS NULL) <> (line.number = 1))
