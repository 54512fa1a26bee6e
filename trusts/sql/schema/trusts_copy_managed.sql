-- Copies what changed of a wallet to the trusts that give control of it, or did or may.
CREATE FUNCTION trusts_copy_managed() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    UPDATE trusts_trust
       SET managed_name = NEW.name, managed_name_key = NEW.name_key, managed_has_password = NEW.password <> ''
     WHERE (actor_id = NEW.id AND number > 0 OR target_id = NEW.id AND number > 0)
       AND subject_id = NEW.id AND type = 'manage';
    RETURN NULL;
END $$;
