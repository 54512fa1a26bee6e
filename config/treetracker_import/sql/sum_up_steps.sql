-- Where the kept transactions of each token begin and end.
INSERT INTO import_chain (token_id, first_at, first_source, last_at, last_destination)
SELECT token_id, min(at), (array_agg(source_id ORDER BY at, begun, transaction_id))[1],
       max(at), (array_agg(destination_id ORDER BY at DESC, begun DESC, transaction_id DESC))[1]
  FROM import_step WHERE rank = 2 GROUP BY token_id
