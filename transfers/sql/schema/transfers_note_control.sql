-- Notes that a wallet gained or lost control of another, for the counts of its lists (transfers.list_counts).
CREATE FUNCTION transfers_note_control() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    INSERT INTO transfers_controlchange (holder_id, subject_id) VALUES (NEW.holder_id, NEW.subject_id);
    RETURN NULL;
END $$;
