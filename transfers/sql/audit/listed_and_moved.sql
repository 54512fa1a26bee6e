SELECT format('transfer number %%s lists token %%s, but has no movement of it', missing.number, missing.token_id)
  FROM (SELECT transfer.number, (jsonb_array_elements_text(transfer.parameters -> 'tokens'))::uuid AS token_id
          FROM transfers_transfer AS transfer WHERE transfer.state = 'completed'
           AND transfer.number > {detached_transfers}
        EXCEPT SELECT transfer_number, token_id FROM transfers_movement) AS missing
