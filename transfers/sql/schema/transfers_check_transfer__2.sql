-- A completed transfer moved as many tokens as were asked; any other moved none. The ledger takes both counts from the
-- rows that it changed. An unknown state is refused. An empty list of tokens is accepted and moves nothing (the
-- Treetracker contract, row 10). What needs an approval completes only after another credential gave it. This is
-- checked here and not by a trigger with a condition, which each statement parses again: 5 % of the instructions of a
-- transfer.
CREATE OR REPLACE FUNCTION transfers_check_transfer() RETURNS trigger LANGUAGE plpgsql AS $$
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
        IF NEW.approval_of IS NOT NULL
           AND (NEW.state = 'completed' AND NEW.approved_at IS NULL OR NEW.approval_asked_by_id IS NULL
                OR (NEW.approved_at IS NULL) <> (NEW.approved_by_id IS NULL)
                OR NEW.approval_asked_with = NEW.approved_with)
        THEN
            RAISE EXCEPTION 'a transfer that needs an approval completes after another credential gave it'
                USING ERRCODE = 'restrict_violation';
        END IF;
        RETURN NEW;
    END IF;
    RAISE EXCEPTION 'a transfer is between two wallets, moves what was asked or nothing, and is closed when decided'
        USING ERRCODE = 'check_violation';
END $$;
