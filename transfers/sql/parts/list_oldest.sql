-- A time than which no transfer with a higher number than the row is older; NULL if none is known. `least` leaves out
-- NULL, so each is NULL only if there is no such transfer.
(SELECT CASE WHEN NOT is_known THEN NULL
             WHEN number > (SELECT number FROM checkpoint) THEN created_at - recent.spread
             ELSE (SELECT least(last_read.created_at - same.spread, recent.oldest_at,
                                (SELECT oldest_at FROM transfers_listspan WHERE span > number / {span}
                                  ORDER BY span LIMIT 1))
                     FROM transfers_listspan AS same WHERE span = number / {span}) END
   FROM ({rows}) AS last_read CROSS JOIN recent)
