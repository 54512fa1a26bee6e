-- Where tokens are that Coppice has, and where the last import left them: `came_from`, NULL if none brought the token.
UPDATE import_token AS token
   SET is_new = false, here_wallet_id = here.wallet_id, here_moves = here.moves, here_arrival = here.arrival,
       here_pending_id = here.transfer_pending_id,
       came_from = CASE WHEN EXISTS (SELECT FROM treetracker_import_importrun AS run
                                      WHERE here.arrival BETWEEN run.first_arrival AND run.last_arrival)
                        THEN here.wallet_id
                        ELSE (SELECT movement.destination_id FROM transfers_movement AS movement
                                JOIN treetracker_import_importrun AS run
                                  ON movement.id BETWEEN run.first_arrival AND run.last_arrival
                               WHERE movement.token_id = here.id ORDER BY movement.number DESC LIMIT 1) END
  FROM wallets_token AS here
 WHERE here.id = token.id
