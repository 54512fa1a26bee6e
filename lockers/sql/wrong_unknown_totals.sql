-- Ended tasks whose result names another sum of unknown coins than the open lines of their receipts have.
SELECT task.id::text FROM lockers_lockertask AS task
  LEFT JOIN (SELECT line.task_id, sum(10::numeric ^ (line.denomination + 8)) AS units
               FROM lockers_receiptline AS line
               JOIN lockers_coin AS coin USING (denomination, serial_number)
              WHERE {is_open} AND coin.state IN {doubtful} AND coin.family IS DISTINCT FROM coin.id
              GROUP BY 1) AS unknown ON unknown.task_id = task.id
 WHERE task.kind IN ('put', 'take') AND task.state <> 'running'
   AND coalesce((task.result->>'total_unknown')::numeric, 0) <> coalesce(unknown.units, 0)
