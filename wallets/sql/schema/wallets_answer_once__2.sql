-- Refuses a row whose key a row of the next or the last week has: a unique index of a partition sees its week only. The
-- look-up of the key has seen no such row, but one may have committed since, in a transaction that began in that week.
-- It held the lock of the key, so this waits for its end, and the query after it sees the row: each query of a volatile
-- function has a new snapshot.
-- It looks only within two hours of the beginning or the end of a week: a row is committed at most 90 seconds after
-- its time (the timeouts of the statement and of an idle transaction together), and the clock may be set back. This is
-- not a condition of the trigger, which each statement would parse again: 3 % of the instructions of a transfer.
CREATE OR REPLACE FUNCTION wallets_answer_once() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    IF NEW.created_at AT TIME ZONE 'UTC' - NEW.week BETWEEN interval '2 hours' AND interval '166 hours' THEN
        RETURN NEW;
    END IF;
    PERFORM pg_advisory_xact_lock(hashtextextended(NEW.wallet_id::text || NEW.key, 0));
    PERFORM FROM wallets_idempotentanswer
      WHERE wallet_id = NEW.wallet_id AND key = NEW.key AND week = ANY (ARRAY[NEW.week - 7, NEW.week + 7]);
    IF FOUND THEN
        RAISE unique_violation USING MESSAGE = 'key of another week: idempotency_key_is_used_once',
                                     CONSTRAINT = 'idempotency_key_is_used_once';
    END IF;
    RETURN NEW;
END
$$
