-- A completed transfer moved as many tokens as were asked; any other moved none. The ledger takes both counts from the
-- rows that it changed. An unknown state is refused. An empty list of tokens is accepted and moves nothing (the
-- Treetracker contract, row 10). What needs an approval completes only after another credential gave it. This is
-- checked here and not by a trigger with a condition, which each statement parses again: 5 % of the instructions of a
-- transfer. An expression for each state, not one for all: PostgreSQL prepares those that it reaches, in each
-- transaction.
CREATE OR REPLACE FUNCTION transfers_check_transfer() RETURNS trigger LANGUAGE plpgsql AS $$
DECLARE
    is_right boolean := false;
BEGIN
    IF NEW.state = 'completed' THEN
        is_right := NEW.moved_count = NEW.token_count AND NEW.reserved_count = 0 AND NEW.closed_at IS NOT NULL;
    ELSIF NEW.state = 'pending' THEN
        is_right := NEW.moved_count = 0 AND NEW.reserved_count = NEW.token_count AND NEW.closed_at IS NULL;
    ELSIF NEW.state = 'requested' THEN
        is_right := NEW.moved_count = 0 AND NEW.reserved_count = 0 AND NEW.closed_at IS NULL;
    ELSIF NEW.state IN ('cancelled', 'failed') THEN
        is_right := NEW.moved_count = 0 AND NEW.reserved_count = 0 AND NEW.closed_at IS NOT NULL;
    END IF;
    IF NEW.token_count <= 0 THEN
        is_right := is_right AND NEW.token_count = 0 AND NEW.parameters = '{"tokens": []}';
    END IF;
    IF is_right AND NEW.source_id <> NEW.destination_id THEN
        IF NEW.approval_of IS NOT NULL THEN
            IF NEW.state = 'completed' AND NEW.approved_at IS NULL OR NEW.approval_asked_by_id IS NULL
               OR (NEW.approved_at IS NULL) <> (NEW.approved_by_id IS NULL)
               OR NEW.approval_asked_with = NEW.approved_with
            THEN
                RAISE EXCEPTION 'a transfer that needs an approval completes after another credential gave it'
                    USING ERRCODE = 'restrict_violation';
            END IF;
        END IF;
        RETURN NEW;
    END IF;
    RAISE EXCEPTION 'a transfer is between two wallets, moves what was asked or nothing, and is closed when decided'
        USING ERRCODE = 'check_violation';
END $$;
