-- Transfers of another wallet that are the reader's too: the other wallet's if it has few, else the reader's. The branch
-- that is not asked for is not executed. What a wallet has that the reader does not control must not decide how much is
-- read.
SELECT * FROM ({of_wallet}) AS transfer
 WHERE (SELECT count(*) <= {few} FROM few)
   AND (transfer.source_id IN (SELECT id FROM mine) OR transfer.destination_id IN (SELECT id FROM mine)
        OR transfer.originator_id IN (SELECT id FROM mine))
 UNION ALL
SELECT * FROM ({of_actor}) AS transfer
 WHERE NOT (SELECT count(*) <= {few} FROM few)
   AND (SELECT %(wallet)s::uuid) IN (transfer.source_id, transfer.destination_id, transfer.originator_id)
