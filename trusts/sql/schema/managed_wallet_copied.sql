-- A changed password is copied only where the wallet had none before, or has none now.
CREATE TRIGGER managed_wallet_copied AFTER UPDATE OF name, name_key, password ON wallets_wallet FOR EACH ROW
    WHEN ((OLD.name, OLD.name_key, OLD.password <> '') IS DISTINCT FROM (NEW.name, NEW.name_key, NEW.password <> ''))
    EXECUTE FUNCTION trusts_copy_managed();
