-- Sets when the coins of lockers are brought to missing servers again, or NULL if none is missing.
WITH mine AS MATERIALIZED (
    SELECT id FROM lockers_locker WHERE id = ANY(%(ids)s) ORDER BY id FOR NO KEY UPDATE
)
UPDATE lockers_locker SET mend_at = CASE
    WHEN known.locked_thin OR known.sent_thin AND lockers_locker.mends < %(when_empty)s
    THEN now() + make_interval(secs => least(3600, 0.8 * 2.0 ^ greatest(lockers_locker.mends - %(quick)s, 0))) END
  FROM (SELECT locker.id, coalesce(bool_or(coin.state = 'locked'), false) AS locked_thin,
               coalesce(bool_or(coin.state = 'sent'), false) AS sent_thin
          FROM mine AS locker LEFT JOIN lockers_coin AS coin ON coin.locker_id = locker.id AND coin.passes < 25
         GROUP BY locker.id) AS known
 WHERE lockers_locker.id = known.id
