-- The references of a batch.
terms AS (
    INSERT INTO transfers_transferterms (
           transfer_number, originator_id, source_id, destination_id, reference, unique_reference, metadata)
    SELECT written.number, %(actor)s::uuid, written.source_id, written.destination_id, wanted.reference, false, NULL
      FROM written FULL JOIN wanted ON wanted.id = written.id
     WHERE coalesce(wanted.reference <> '' AND written.number IS NOT NULL, false)
)
