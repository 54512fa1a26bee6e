-- Transfers that ended between the checkpoint and the number `until`, by outcome. Each transfer that was decided later
-- wrote two events, one for each party. That of its source is counted: `until` may lie between the two.
SELECT 'completed' AS outcome, count(*) AS transfers FROM transfers_transfer
 WHERE number > (SELECT coalesce(max(number), 0) FROM transfers_outcometally) AND number <= %(until)s
   AND state = 'completed' AND closed_event = ''
 UNION ALL
SELECT ending.outcome, count(*)
  FROM wallets_event AS event
  JOIN unnest(%(types)s::text[], %(outcomes)s::text[]) AS ending (type, outcome) ON ending.type = event.type
  JOIN transfers_transfer AS transfer
    ON transfer.id = (event.payload ->> 'transferId')::uuid AND transfer.source_id = event.wallet_id
 WHERE event.number > (SELECT coalesce(max(number), 0) FROM transfers_outcometally) AND event.number <= %(until)s
 GROUP BY ending.outcome
