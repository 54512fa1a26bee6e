-- Whether the wallet of a change of control, the row `changed`, has transfers up to the checkpoint.
EXISTS (SELECT FROM transfers_transfer WHERE source_id = changed.subject_id AND number <= (SELECT number FROM checkpoint))
OR EXISTS (SELECT FROM transfers_transfer
            WHERE destination_id = changed.subject_id AND number <= (SELECT number FROM checkpoint))
OR EXISTS (SELECT FROM transfers_transfer
            WHERE originator_id = changed.subject_id AND originator_id <> source_id AND originator_id <> destination_id
              AND number <= (SELECT number FROM checkpoint))
