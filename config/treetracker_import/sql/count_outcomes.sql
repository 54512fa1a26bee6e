-- Adds the outcomes that were imported without the two events by which they are counted.
UPDATE transfers_outcometally AS tally SET transfers = tally.transfers + missing.transfers
  FROM (SELECT state, sum(transfers) AS transfers
          FROM (SELECT state, count(*) AS transfers FROM import_group
                 WHERE state IN ('completed', 'cancelled', 'failed')
                   AND NOT (state = 'completed' AND closed_event = '')
                   AND NOT (state = 'failed' AND closed_event = 'expire')
                 GROUP BY state
                 UNION ALL
                SELECT CASE here_type WHEN 'transfer_completed' THEN 'completed' WHEN 'transfer_failed' THEN 'failed'
                                      ELSE 'cancelled' END, -(count(*) / 2)
                  FROM import_event
                 WHERE number > 0 AND here_type IN (
                           'transfer_completed', 'transfer_failed', 'transfer_request_cancelled_by_destination',
                           'transfer_pending_cancelled_by_requestor')
                 GROUP BY 1) AS part
         GROUP BY state) AS missing
 WHERE tally.outcome = missing.state
