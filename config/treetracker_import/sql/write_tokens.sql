-- The new tokens whose last movement lies after the place `first` up to `last`.
INSERT INTO wallets_token (id, capture_id, wallet_id, transfer_pending_id, moves, arrival, lot, claim, created_at,
                           updated_at)
SELECT token.id, token.capture_id, token.wallet_id, reserved.transfer_id, movement.number,
       %(base)s::bigint + movement.place, floor(random() * 4294967296 - 2147483648)::integer, token.claim,
       token.created_at, movement.at
  FROM import_movement AS movement
  JOIN import_token AS token ON token.id = movement.token_id AND token.is_new
  LEFT JOIN import_reserved AS reserved ON reserved.token_id = token.id
 WHERE movement.is_last AND movement.place > %(first)s AND movement.place <= %(last)s
