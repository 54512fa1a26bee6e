-- Transactions that are in the history of Coppice, under the transfer of the source or the one that was made for them.
DELETE FROM import_transaction AS step
 USING (SELECT movement.token_id, transfer.id AS transfer_id FROM transfers_movement AS movement
          JOIN transfers_transfer AS transfer ON transfer.number = movement.transfer_number) AS known
 WHERE known.token_id = step.token_id
   AND known.transfer_id IN (
           step.transfer_id,
           md5(concat_ws(' ', step.transfer_id, step.source_wallet_id, step.destination_wallet_id))::uuid)
