-- The copies of the managed wallet's columns are those by which lists of managed wallets are sorted and filtered.
CREATE OR REPLACE FUNCTION trusts_fill_power() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    SELECT kind.power,
           CASE WHEN kind.is_held_by_actor THEN NEW.actor_id ELSE NEW.target_id END,
           CASE WHEN kind.is_held_by_actor THEN NEW.target_id ELSE NEW.actor_id END
      INTO NEW.type, NEW.holder_id, NEW.subject_id
      FROM trusts_kind AS kind
     WHERE kind.request_type = NEW.request_type;
    SELECT wallet.created_at, wallet.name, wallet.name_key, wallet.password <> ''
      INTO NEW.managed_created_at, NEW.managed_name, NEW.managed_name_key, NEW.managed_has_password
      FROM wallets_wallet AS wallet
     WHERE wallet.id = NEW.subject_id AND NEW.type = 'manage';
    RETURN NEW;
END $$;
