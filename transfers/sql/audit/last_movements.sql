-- Not of tokens whose last movement is detached.
SELECT format('token %%s is in %%s, its movement %%s went to %%s',
              token.id, token.wallet_id, token.moves, coalesce(movement.destination_id::text, 'nowhere'))
  FROM wallets_token AS token
  LEFT JOIN transfers_movement AS movement
    ON movement.token_id = token.id AND movement.number = token.moves
 WHERE (movement.id IS NULL OR movement.destination_id <> token.wallet_id OR movement.id <> token.arrival)
   AND token.arrival >= {detached_below}
