-- Without a condition: the function `wallets_answer_once` decides whether it looks.
CREATE OR REPLACE TRIGGER idempotentanswer_once BEFORE INSERT ON wallets_idempotentanswer
   FOR EACH ROW
  EXECUTE FUNCTION wallets_answer_once()
