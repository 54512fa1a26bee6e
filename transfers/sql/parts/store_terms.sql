-- Stores the terms of the transfer in the statement that writes it. A reference that is taken refuses the statement. This
-- part stands before the one that stores the key: PostgreSQL executes the later one first, so that a repeated request is
-- refused for its key and not for its reference.
terms AS (
    INSERT INTO transfers_transferterms (
           transfer_number, originator_id, source_id, destination_id, reference, unique_reference, metadata)
    SELECT number, originator_id, source_id, destination_id, %(reference)s::varchar, %(unique_reference)s::boolean,
           %(metadata)s::jsonb
      FROM written WHERE has_terms
)
