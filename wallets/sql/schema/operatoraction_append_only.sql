CREATE TRIGGER operatoraction_append_only BEFORE UPDATE OR DELETE ON wallets_operatoraction
    FOR EACH ROW EXECUTE FUNCTION coppice_refuse('what operators did is only appended');
