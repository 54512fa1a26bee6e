CREATE TRIGGER token_moves_with_history BEFORE UPDATE ON wallets_token
    FOR EACH ROW EXECUTE FUNCTION transfers_check_token();
