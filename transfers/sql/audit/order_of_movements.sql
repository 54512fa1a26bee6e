-- The first movement that is not detached has none before it.
SELECT format('token %%s, movement %%s (%%s): from %%s, but the one before (%%s) went to %%s', token_id, number, id,
              source_id, coalesce(earlier::text, 'missing'), coalesce(whereabouts::text, 'nowhere'))
  FROM (SELECT token_id, number, id, source_id,
               lag(destination_id) OVER history AS whereabouts, lag(id) OVER history AS earlier
          FROM transfers_movement WINDOW history AS (PARTITION BY token_id ORDER BY number)) AS movement
 WHERE number > 0 AND (source_id IS DISTINCT FROM whereabouts OR earlier IS NULL OR earlier >= id)
   AND (earlier IS NOT NULL OR {detached_below} = 0)
