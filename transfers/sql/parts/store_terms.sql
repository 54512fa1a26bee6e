-- The terms of the transfer are stored by the statement that writes it. A taken reference refuses the statement. Before the
-- key in the text: PostgreSQL runs the last of such parts first, and a repeated request is told of its key.
terms AS (
    INSERT INTO transfers_transferterms (
           transfer_number, originator_id, source_id, destination_id, reference, unique_reference, metadata)
    SELECT number, originator_id, source_id, destination_id, %(reference)s::varchar, %(unique_reference)s::boolean,
           %(metadata)s::jsonb
      FROM written WHERE has_terms
)
