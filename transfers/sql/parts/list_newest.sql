-- A time than which no transfer with a lower number than the row is newer; NULL if none is known.
(SELECT created_at + CASE WHEN number > (SELECT number FROM checkpoint)
                          THEN (SELECT spread FROM recent WHERE is_known)
                          ELSE (SELECT spread FROM transfers_listspan WHERE span = number / {span}) END
   FROM ({rows}) AS last_read)
