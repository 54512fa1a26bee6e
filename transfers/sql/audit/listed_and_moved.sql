SELECT format('transfer number %%s lists token %%s, but has no movement of it', listed.number, listed.token_id)
  FROM (SELECT transfer.number, (jsonb_array_elements_text(transfer.parameters -> 'tokens'))::uuid AS token_id
          FROM {transfers} AS transfer WHERE transfer.state = 'completed'
           AND transfer.number > {detached_transfers}) AS listed
 WHERE NOT EXISTS (SELECT FROM transfers_movement AS movement
                    WHERE movement.transfer_number = listed.number AND movement.token_id = listed.token_id)
