-- The last movement of a token may be detached.
SELECT format('token %%s is in %%s since movement %%s, but its movement %%s is %%s and went to %%s',
              token.id, token.wallet_id, token.arrival, token.moves, coalesce(movement.id::text, 'missing'),
              coalesce(movement.destination_id::text, 'nowhere'))
  FROM {tokens} AS token
  LEFT JOIN transfers_movement AS movement
    ON movement.token_id = token.id AND movement.number = token.moves
 WHERE movement.id IS NULL AND ({detached_below} = 0 OR token.arrival >= {detached_below})
    OR movement.destination_id <> token.wallet_id OR movement.id <> token.arrival
