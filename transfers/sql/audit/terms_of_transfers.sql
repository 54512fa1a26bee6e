SELECT format('transfer %%s', coalesce(transfer.number, terms.transfer_number))
  FROM (SELECT numbered.* FROM {numbered} AS numbered WHERE numbered.has_terms) AS transfer
  FULL JOIN {terms} AS terms ON terms.transfer_number = transfer.number
 WHERE transfer.number IS NULL OR terms.transfer_number IS NULL
    OR (terms.originator_id, terms.source_id, terms.destination_id)
       IS DISTINCT FROM (transfer.originator_id, transfer.source_id, transfer.destination_id)
