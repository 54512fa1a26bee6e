-- The transactions that become history, each with the transfer to which it belongs: that of the source, if it is
-- completed and between the same wallets; otherwise one that is made for it, with an id that is the same each time.
INSERT INTO import_step (token_id, at, begun, transaction_id, rank, group_id, transfer_id, source_id, destination_id)
SELECT step.token_id, step.processed_at, coalesce(transfer.created_at, step.processed_at), step.id, 2,
       CASE WHEN transfer.fate IN ('new', 'complete') AND transfer.state = 'completed'
             AND transfer.source_wallet_id = step.source_wallet_id
             AND transfer.destination_wallet_id = step.destination_wallet_id
            THEN step.transfer_id
            ELSE md5(concat_ws(' ', step.transfer_id, step.source_wallet_id, step.destination_wallet_id))::uuid END,
       step.transfer_id, step.source_wallet_id, step.destination_wallet_id
  FROM import_transaction AS step
  JOIN import_token AS token ON token.id = step.token_id AND NOT token.is_kept_here
  LEFT JOIN import_transfer AS transfer ON transfer.id = step.transfer_id
 WHERE step.source_wallet_id <> step.destination_wallet_id
   AND NOT EXISTS (SELECT FROM import_finding AS finding
                    WHERE finding.id = step.id AND finding.kind = 'history_repeated')
