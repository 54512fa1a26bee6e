-- `transfers_check_transfer` has its rule.
DROP TRIGGER transfer_approved ON transfers_transfer;
