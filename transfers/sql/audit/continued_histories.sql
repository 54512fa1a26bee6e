-- Of some movements: each continues the history of its token, and none is missing between the sealed ones and the last.
-- One whose predecessor is detached cannot be compared.
SELECT format('token %%s, movement %%s (%%s): from %%s, but the one before (%%s) went to %%s',
              movement.token_id, movement.number, movement.id, movement.source_id,
              coalesce(earlier.id::text, 'missing'), coalesce(earlier.destination_id::text, 'nowhere'))
  FROM {movements} AS movement
  LEFT JOIN transfers_movement AS earlier
    ON earlier.token_id = movement.token_id AND earlier.number = movement.number - 1
  LEFT JOIN wallets_token AS token ON token.id = movement.token_id
 WHERE movement.number > coalesce(token.moves, -1)
    OR movement.number > 0 AND CASE WHEN earlier.id IS NULL THEN {detached_below} = 0
                                    ELSE earlier.id >= movement.id
                                      OR movement.source_id IS DISTINCT FROM earlier.destination_id END
    OR movement.number < 0
