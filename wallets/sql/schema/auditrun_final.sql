CREATE TRIGGER auditrun_final BEFORE UPDATE ON wallets_auditrun FOR EACH ROW
    WHEN (OLD.result <> 'running') EXECUTE FUNCTION coppice_refuse('an audit that ended never changes');
