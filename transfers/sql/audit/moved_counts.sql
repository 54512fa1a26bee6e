-- Of a transfer with detached movements some or all are missing.
SELECT format('transfer %%s is %%s, asks for %%s tokens and moved %%s, but has %%s movements', transfer.id,
              transfer.state, transfer.token_count, transfer.moved_count, count(movement.id))
  FROM {transfers} AS transfer
  LEFT JOIN transfers_movement AS movement ON movement.transfer_number = transfer.number
 GROUP BY transfer.id, transfer.number, transfer.state, transfer.token_count, transfer.moved_count
HAVING transfer.moved_count <> CASE transfer.state WHEN 'completed' THEN transfer.token_count ELSE 0 END
    OR transfer.moved_count <> count(movement.id)
       AND (transfer.number > {detached_transfers} OR transfer.moved_count < count(movement.id))
