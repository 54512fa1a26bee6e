-- After the statement, which inserts the transfer or the link together with the reservation. A completed transfer sets
-- NULL, and pays for the condition alone, as it did for the foreign key, whose place this takes.
CREATE TRIGGER token_reserved AFTER INSERT OR UPDATE ON wallets_token FOR EACH ROW
    WHEN (NEW.transfer_pending_id IS NOT NULL) EXECUTE FUNCTION transfers_check_reservation();
ALTER TABLE wallets_token DROP CONSTRAINT IF EXISTS token_reserved_by_a_transfer
