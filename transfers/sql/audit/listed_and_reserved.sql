SELECT format('transfer %%s lists token %%s, but does not reserve it', missing.id, missing.token_id)
  FROM (SELECT transfer.id, (jsonb_array_elements_text(transfer.parameters -> 'tokens'))::uuid AS token_id
          FROM {transfers} AS transfer WHERE transfer.state = 'pending'
        EXCEPT SELECT transfer_pending_id, id FROM wallets_token
                WHERE transfer_pending_id IS NOT NULL) AS missing
