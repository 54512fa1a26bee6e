SELECT format('transfer %%s, %%s, from %%s to %%s', transfer.id, transfer.state, transfer.source_id,
              transfer.destination_id)
  FROM {transfers} AS transfer
  LEFT JOIN wallets_wallet AS originator ON originator.id = transfer.originator_id
  LEFT JOIN wallets_wallet AS source ON source.id = transfer.source_id
  LEFT JOIN wallets_wallet AS destination ON destination.id = transfer.destination_id
 WHERE originator.id IS NULL OR source.id IS NULL OR destination.id IS NULL
    OR source.id = destination.id
    OR NOT (transfer.token_count > 0
            OR transfer.token_count = 0 AND transfer.parameters = '{"tokens": []}')
    OR (transfer.closed_at IS NULL) <> (transfer.state = ANY (%(open)s::text[]))
    OR transfer.state <> ALL (%(known)s::text[])
    OR transfer.closed_at < transfer.created_at
