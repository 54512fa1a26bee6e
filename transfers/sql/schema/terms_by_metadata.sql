-- Without a list of pending entries, which each search would read.
CREATE INDEX terms_by_metadata ON transfers_transferterms
    USING gin (transfers_terms_labels(metadata, source_id, destination_id, originator_id)) WITH (fastupdate = off)
    WHERE metadata IS NOT NULL;
