SELECT format('token %%s has %%s movements, numbered %%s to %%s, and says it moved %%s times',
              token.id, count(movement.id), min(movement.number), max(movement.number), token.moves)
  FROM wallets_token AS token LEFT JOIN transfers_movement AS movement ON movement.token_id = token.id
 GROUP BY token.id, token.moves
HAVING count(movement.id) <> token.moves + 1 OR min(movement.number) <> 0
    OR max(movement.number) <> token.moves
