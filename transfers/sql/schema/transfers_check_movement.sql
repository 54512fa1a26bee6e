-- An issue has number 0, no transfer and no source; any other movement has all three.
CREATE FUNCTION transfers_check_movement() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    IF (NEW.number >= 0 AND (NEW.number = 0) = (NEW.transfer_number IS NULL)
        AND (NEW.number = 0) = (NEW.source_id IS NULL))
    THEN
        RETURN NEW;
    END IF;
    RAISE EXCEPTION 'a movement is an issue, or belongs to a transfer out of a wallet' USING ERRCODE = 'check_violation';
END $$;
