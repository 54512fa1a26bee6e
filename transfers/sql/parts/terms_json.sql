-- The terms in the JSON of a transfer, each if it has it. Only transfers with terms are looked up.
, CASE WHEN transfer.has_terms
       THEN (SELECT concat(',"reference":' || to_json(nullif(terms.reference, ''))::text, ',"metadata":' || terms.metadata::text)
               FROM transfers_transferterms AS terms WHERE terms.transfer_number = transfer.number) END,
  ',"expires_at":' || {expires_at_json}
