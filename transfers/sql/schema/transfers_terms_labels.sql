-- One label for each party and each key with its value: what the index of metadata holds, so that a search reads the
-- transfers of the reader alone.
CREATE FUNCTION transfers_terms_labels(metadata jsonb, VARIADIC parties uuid[]) RETURNS uuid[]
LANGUAGE sql IMMUTABLE PARALLEL SAFE AS $$
    SELECT ARRAY(
        SELECT md5(party::text || length(entry.key)::text || ' ' || entry.key || entry.value)::uuid
          FROM unnest(parties) AS party, jsonb_each_text(metadata) AS entry
    )
$$;
