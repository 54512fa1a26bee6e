CREATE TRIGGER auditrun_kept BEFORE DELETE ON wallets_auditrun FOR EACH ROW
    WHEN (OLD.result IN ('running', 'unsound')) EXECUTE FUNCTION coppice_refuse('what an audit found is kept');
