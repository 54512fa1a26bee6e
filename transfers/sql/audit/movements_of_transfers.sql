SELECT format('movement %%s of token %%s by transfer %%s', movement.id, movement.token_id,
              movement.transfer_number)
  FROM {movements} AS movement
  LEFT JOIN wallets_token AS token ON token.id = movement.token_id
  LEFT JOIN transfers_transfer AS transfer ON transfer.number = movement.transfer_number
 WHERE token.id IS NULL
    OR (movement.number = 0) <> (movement.transfer_number IS NULL)
    OR movement.number > 0 AND (
           transfer.number IS NULL OR transfer.state <> 'completed'
           OR transfer.source_id <> movement.source_id
           OR transfer.destination_id <> movement.destination_id)
