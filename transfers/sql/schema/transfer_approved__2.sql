-- The function `transfers_check_transfer` enforces its rule.
DROP TRIGGER transfer_approved ON transfers_transfer;
