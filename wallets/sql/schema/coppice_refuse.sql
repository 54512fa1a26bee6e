-- The body of every trigger that refuses a statement. The trigger's WHEN says when, its one argument says why.
CREATE FUNCTION coppice_refuse() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    RAISE EXCEPTION '% of % is refused: %', TG_OP, TG_TABLE_NAME, TG_ARGV[0] USING ERRCODE = 'restrict_violation';
END $$;
