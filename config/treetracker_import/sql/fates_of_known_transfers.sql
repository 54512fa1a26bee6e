-- What becomes of transfers that are open in Coppice and closed in the source. One can only be completed with as many
-- tokens as it asks for, and the listed ones; otherwise a transfer is made for its transactions, and it fails.
UPDATE import_transfer AS transfer
   SET fate = CASE WHEN transfer.state <> 'completed' THEN 'cancel'
                   WHEN steps.tokens = here.token_count AND steps.strangers = 0 THEN 'complete' ELSE 'fail' END
  FROM import_finding AS finding
  JOIN transfers_transfer AS here ON here.id = finding.id
  LEFT JOIN LATERAL (
           SELECT count(*) AS tokens,
                  count(*) FILTER (WHERE here.parameters ? 'tokens'
                                     AND NOT here.parameters -> 'tokens' @> to_jsonb(step.token_id::text)) AS strangers
             FROM import_transaction AS step
            WHERE step.transfer_id = here.id AND step.source_wallet_id = here.source_id
              AND step.destination_wallet_id = here.destination_id) AS steps ON true
 WHERE transfer.id = finding.id AND finding.kind = 'transfer_changed' AND finding.action = 'apply'
