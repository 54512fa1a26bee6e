-- What is missing of a history can only be its beginning, and only if movements are detached.
SELECT format('token %%s has %%s movements%%s, and says it moved %%s times', token.id, count(movement.id),
              ', numbered ' || min(movement.number) || ' to ' || max(movement.number), token.moves)
  FROM wallets_token AS token LEFT JOIN transfers_movement AS movement ON movement.token_id = token.id
 GROUP BY token.id, token.moves, token.arrival, token.created_at
HAVING count(movement.id) <> token.moves + 1 - coalesce(min(movement.number), token.moves + 1)
    OR max(movement.number) <> token.moves
    OR coalesce(min(movement.number), -1) <> 0
       AND ({detached_below} = 0 OR token.created_at > {detached_until}
            OR count(movement.id) = 0 AND token.arrival >= {detached_below})
