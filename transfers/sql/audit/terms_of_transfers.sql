SELECT format('transfer %%s', coalesce(transfer.number, terms.transfer_number))
  FROM (SELECT * FROM transfers_transfer WHERE has_terms) AS transfer
  FULL JOIN transfers_transferterms AS terms ON terms.transfer_number = transfer.number
 WHERE transfer.number IS NULL OR terms.transfer_number IS NULL
    OR (terms.originator_id, terms.source_id, terms.destination_id)
       IS DISTINCT FROM (transfer.originator_id, transfer.source_id, transfer.destination_id)
