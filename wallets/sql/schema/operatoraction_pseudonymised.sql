-- Only `config.ops.pseudonyms` rewrites what was written about a wallet that was closed.
CREATE TRIGGER operatoraction_pseudonymised BEFORE UPDATE ON wallets_operatoraction FOR EACH ROW
    WHEN (current_setting('coppice.pseudonymises', true) IS DISTINCT FROM 'on')
    EXECUTE FUNCTION coppice_refuse('what operators did is only appended');
