-- Transfers of each day by their present state: completed ones up to the checkpoint and since, and all others.
SELECT day, state, sum(transfers)
  FROM (SELECT day, 'completed' AS state, transfers FROM transfers_daytally WHERE day >= %(since)s
         UNION ALL
        SELECT (created_at AT TIME ZONE 'UTC')::date, 'completed', count(*) FROM transfers_transfer
         WHERE number > (SELECT coalesce(max(number), 0) FROM transfers_tallymark)
           AND state = 'completed' AND closed_event = '' AND created_at >= %(since)s
         GROUP BY 1
         UNION ALL
        SELECT (created_at AT TIME ZONE 'UTC')::date, state, count(*) FROM transfers_transfer
         WHERE created_at >= %(since)s AND (state <> 'completed' OR closed_event <> '')
         GROUP BY 1, 2
       ) AS found
 GROUP BY day, state ORDER BY day, state
