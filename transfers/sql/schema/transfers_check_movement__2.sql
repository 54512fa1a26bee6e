-- An issue has number 0, no transfer and no source; any other movement has all three. Several short expressions:
-- PostgreSQL prepares those that it reaches, in each transaction.
CREATE OR REPLACE FUNCTION transfers_check_movement() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    IF NEW.number > 0 THEN
        IF NEW.transfer_number IS NOT NULL AND NEW.source_id IS NOT NULL THEN
            RETURN NEW;
        END IF;
    ELSIF NEW.number = 0 AND NEW.transfer_number IS NULL AND NEW.source_id IS NULL THEN
        RETURN NEW;
    END IF;
    RAISE EXCEPTION 'a movement is an issue, or belongs to a transfer out of a wallet' USING ERRCODE = 'check_violation';
END $$;
