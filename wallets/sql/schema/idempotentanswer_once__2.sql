-- `wallets_answer_once` says when it looks.
CREATE OR REPLACE TRIGGER idempotentanswer_once BEFORE INSERT ON wallets_idempotentanswer
   FOR EACH ROW
  EXECUTE FUNCTION wallets_answer_once()
