SELECT format('transfer %%s is %%s, asks for %%s tokens and reserves %%s, but %%s tokens name it', transfer.id,
              transfer.state, transfer.token_count, transfer.reserved_count, coalesce(reserved.count, 0))
  FROM {transfers} AS transfer
  LEFT JOIN (SELECT transfer_pending_id, count(*) FROM wallets_token
              WHERE transfer_pending_id IS NOT NULL GROUP BY transfer_pending_id) AS reserved
    ON reserved.transfer_pending_id = transfer.id
 WHERE coalesce(reserved.count, 0) <> CASE transfer.state WHEN 'pending'
                                           THEN transfer.token_count ELSE 0 END
    OR transfer.reserved_count <> coalesce(reserved.count, 0)
