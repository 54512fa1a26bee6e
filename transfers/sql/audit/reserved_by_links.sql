SELECT format('claim link %%s is %%s and has %%s tokens, but %%s tokens name it', link.id, link.state,
              link.token_count, coalesce(reserved.count, 0))
  FROM {links} AS link
  LEFT JOIN (SELECT transfer_pending_id, count(*) FROM wallets_token
              WHERE transfer_pending_id IS NOT NULL GROUP BY transfer_pending_id) AS reserved
    ON reserved.transfer_pending_id = link.id
 WHERE coalesce(reserved.count, 0) <> CASE link.state WHEN 'active' THEN link.token_count ELSE 0 END
