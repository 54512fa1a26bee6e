-- The wallets app may not import transfers, so its model cannot declare this key. The column is NULL except while a
-- transfer is pending, so only pending transfers pay for the check.
ALTER TABLE wallets_token ADD CONSTRAINT token_reserved_by_a_transfer
    FOREIGN KEY (transfer_pending_id) REFERENCES transfers_transfer (id);
