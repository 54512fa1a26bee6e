-- The numbers of the transfers up to the settled number that the manager, the row `manager`, sees.
WITH mine AS MATERIALIZED (
    SELECT manager.wallet_id AS id UNION SELECT subject_id FROM trusts_power WHERE holder_id = manager.wallet_id AND power = 'manage'
)
SELECT transfer.number FROM mine JOIN transfers_transfer AS transfer ON transfer.source_id = mine.id
 WHERE transfer.number <= %(settled)s
 UNION
SELECT transfer.number FROM mine JOIN transfers_transfer AS transfer ON transfer.destination_id = mine.id
 WHERE transfer.number <= %(settled)s
 UNION
SELECT transfer.number FROM mine JOIN transfers_transfer AS transfer ON transfer.originator_id = mine.id
 WHERE transfer.originator_id <> transfer.source_id AND transfer.originator_id <> transfer.destination_id
   AND transfer.number <= %(settled)s
