-- A claim is a transfer with the id of its link. An id that another kind of row has is an accident of one in 2^122.
SELECT format('claim link %%s is %%s; the transfer with its id is %%s', link.id, link.state,
              coalesce(transfer.state, 'missing'))
  FROM {links} AS link LEFT JOIN transfers_transfer AS transfer ON transfer.id = link.id
 WHERE (link.state = 'redeemed') <> (transfer.id IS NOT NULL)
    OR (transfer.state, transfer.source_id, transfer.token_count, transfer.originator_id, transfer.created_at)
       IS DISTINCT FROM ('completed', link.sender_id, link.token_count, link.closed_by_id, link.closed_at)
       AND link.state = 'redeemed'
