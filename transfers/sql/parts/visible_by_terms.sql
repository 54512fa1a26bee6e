-- Transfers of the reader with some terms, each once: `{terms}` is a condition on them that an index serves together
-- with a wallet, `{wallet}` narrows them to those of one, `{extra}` is one more.
SELECT transfer.*
  FROM (SELECT transfer_number FROM transfers_transferterms AS terms
         WHERE source_id IN (SELECT id FROM mine) AND {terms}
         UNION
        SELECT transfer_number FROM transfers_transferterms AS terms
         WHERE destination_id IN (SELECT id FROM mine) AND {terms}
         UNION
        SELECT transfer_number FROM transfers_transferterms AS terms
         WHERE originator_id IN (SELECT id FROM mine) AND originator_id <> source_id
           AND originator_id <> destination_id AND {terms}) AS named
  JOIN transfers_transfer AS transfer ON transfer.number = named.transfer_number
 WHERE {wallet} {extra}
