-- A reservation is that of a transfer or of a claim link. It takes the place of a foreign key, which can refer to one
-- table only. Neither kind of row can be deleted, so that a later check is not needed.
CREATE FUNCTION transfers_check_reservation() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    IF EXISTS (SELECT FROM transfers_transfer WHERE id = NEW.transfer_pending_id)
       OR EXISTS (SELECT FROM transfers_actiontoken WHERE id = NEW.transfer_pending_id)
    THEN
        RETURN NULL;
    END IF;
    RAISE EXCEPTION 'a token is reserved by a transfer or a claim link' USING ERRCODE = 'foreign_key_violation';
END $$;
