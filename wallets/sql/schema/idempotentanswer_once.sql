-- Within two hours of the end of a week; see `wallets_answer_once`. From the time of a row to its commit it takes at
-- most the timeouts of the statement and of an idle transaction, 90 seconds together. The clock may be set back.
CREATE TRIGGER idempotentanswer_once BEFORE INSERT ON wallets_idempotentanswer
   FOR EACH ROW
  WHEN (NEW.created_at AT TIME ZONE 'UTC' < NEW.week + interval '2 hours'
        OR NEW.created_at AT TIME ZONE 'UTC' > NEW.week + interval '166 hours')
  EXECUTE FUNCTION wallets_answer_once()
