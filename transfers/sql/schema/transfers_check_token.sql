-- A token that changes its wallet takes the next number and a later arrival; otherwise neither changes.
CREATE FUNCTION transfers_check_token() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    IF (CASE NEW.wallet_id WHEN OLD.wallet_id THEN NEW.moves = OLD.moves AND NEW.arrival = OLD.arrival
                           ELSE NEW.moves = OLD.moves + 1 AND NEW.arrival > OLD.arrival END)
    THEN
        RETURN NEW;
    END IF;
    RAISE EXCEPTION 'a token changes its wallet only with its next number and a later arrival' USING ERRCODE = 'check_violation';
END $$;
