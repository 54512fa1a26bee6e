-- Coins by denomination: the number that tasks ended in a period put, took and imported, and those held now.
SELECT denomination, coalesce(sum(put), 0), coalesce(sum(taken), 0), coalesce(sum(imported), 0), coalesce(sum(held), 0)
  FROM (SELECT line.denomination,
               count(*) FILTER (WHERE task.kind = 'put' AND coalesce(became, line.state) = 'locked') AS put,
               count(*) FILTER (WHERE task.kind = 'take' AND coalesce(became, line.state) IN ('bank', 'fracked')
                               ) AS taken,
               count(*) FILTER (WHERE task.kind = 'import' AND coalesce(became, line.state) IN ('bank', 'fracked')
                               ) AS imported, 0 AS held
          FROM lockers_lockertask AS task JOIN lockers_receiptline AS line ON line.task_id = task.id
         WHERE task.kind IN ('put', 'take', 'import') AND task.finished_at >= %(start)s::timestamptz
           AND task.finished_at < %(end)s::timestamptz
         GROUP BY line.denomination
         UNION ALL
        SELECT denomination, 0, 0, 0, count(*) FROM lockers_coin WHERE state IN ('bank', 'fracked')
         GROUP BY denomination
       ) AS counted
 GROUP BY denomination ORDER BY denomination DESC
