-- A token that changes its wallet takes the next number and a later arrival; otherwise neither changes. Several short
-- expressions: PostgreSQL prepares those that it reaches, in each transaction.
CREATE OR REPLACE FUNCTION transfers_check_token() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    IF NEW.wallet_id = OLD.wallet_id THEN
        IF NEW.moves = OLD.moves AND NEW.arrival = OLD.arrival THEN
            RETURN NEW;
        END IF;
    ELSIF NEW.moves = OLD.moves + 1 AND NEW.arrival > OLD.arrival THEN
        RETURN NEW;
    END IF;
    RAISE EXCEPTION 'a token changes its wallet only with its next number and a later arrival' USING ERRCODE = 'check_violation';
END $$;
