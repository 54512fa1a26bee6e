-- Writes the servers' letters of coins that nothing has changed since they were read.
UPDATE lockers_coin AS coin SET pown = new.after, checked_at = now(),
       state = CASE WHEN strpos(new.after, 'f') > 0 THEN 'fracked' ELSE coin.state END
  FROM unnest(%(ids)s::uuid[], %(before)s::text[], %(after)s::text[], %(changed)s::timestamptz[])
       AS new (id, before, after, changed_at)
 CROSS JOIN LATERAL (
     SELECT id FROM lockers_coin AS read
      WHERE read.id = new.id
        AND (read.pown = new.before AND read.changed_at = new.changed_at AND read.state IN ('bank', 'fracked')
             AND (read.task_id IS NULL OR read.task_id = %(task)s)) IS TRUE
        FOR NO KEY UPDATE SKIP LOCKED) AS free
 WHERE coin.id = ANY (ARRAY[free.id])
