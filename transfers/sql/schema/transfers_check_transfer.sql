-- A completed transfer moved as many tokens as were asked; any other moved none. The ledger takes both counts from the
-- rows that it changed. An unknown state is refused. An empty list of tokens is accepted and moves nothing (the
-- Treetracker contract, row 10).
CREATE FUNCTION transfers_check_transfer() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    IF (NEW.source_id <> NEW.destination_id
        AND (NEW.token_count > 0 OR NEW.token_count = 0 AND NEW.parameters = '{"tokens": []}')
        AND CASE NEW.state
                WHEN 'completed' THEN
                    NEW.moved_count = NEW.token_count AND NEW.reserved_count = 0 AND NEW.closed_at IS NOT NULL
                WHEN 'pending' THEN
                    NEW.moved_count = 0 AND NEW.reserved_count = NEW.token_count AND NEW.closed_at IS NULL
                WHEN 'requested' THEN
                    NEW.moved_count = 0 AND NEW.reserved_count = 0 AND NEW.closed_at IS NULL
                WHEN 'cancelled' THEN
                    NEW.moved_count = 0 AND NEW.reserved_count = 0 AND NEW.closed_at IS NOT NULL
                WHEN 'failed' THEN
                    NEW.moved_count = 0 AND NEW.reserved_count = 0 AND NEW.closed_at IS NOT NULL
                ELSE false END)
    THEN
        RETURN NEW;
    END IF;
    RAISE EXCEPTION 'a transfer is between two wallets, moves what was asked or nothing, and is closed when decided'
        USING ERRCODE = 'check_violation';
END $$;
