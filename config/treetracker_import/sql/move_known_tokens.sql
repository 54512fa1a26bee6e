-- The step `step` of the tokens that Coppice has: the ledger lets a token make one step at a time.
UPDATE wallets_token AS here
   SET wallet_id = movement.destination_id, moves = movement.number, arrival = %(base)s::bigint + movement.place,
       updated_at = movement.at, transfer_pending_id = NULL
  FROM import_movement AS movement JOIN import_token AS token ON token.id = movement.token_id AND NOT token.is_new
 WHERE here.id = movement.token_id AND movement.number = token.here_moves + %(step)s::integer
