-- Label, reason and what was shown are rewritten for one purpose: `operatoraction_pseudonymised`.
CREATE OR REPLACE TRIGGER operatoraction_append_only
    BEFORE DELETE OR UPDATE OF id, staff_id, verb, object_kind, object_id, things, request_id, confirmation, created_at
    ON wallets_operatoraction
    FOR EACH ROW EXECUTE FUNCTION coppice_refuse('what operators did is only appended');
