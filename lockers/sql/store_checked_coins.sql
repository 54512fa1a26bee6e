-- Writes the servers' letters of coins that nothing has changed since they were read.
WITH free AS MATERIALIZED (
    SELECT id FROM lockers_coin WHERE id = ANY(%(ids)s::uuid[]) ORDER BY id FOR NO KEY UPDATE SKIP LOCKED
)
UPDATE lockers_coin AS coin SET pown = new.after, checked_at = now(),
       state = CASE WHEN strpos(new.after, 'f') > 0 THEN 'fracked' ELSE coin.state END
  FROM free, unnest(%(ids)s::uuid[], %(before)s::text[], %(after)s::text[], %(changed)s::timestamptz[])
       AS new (id, before, after, changed_at)
 WHERE coin.id = free.id AND new.id = free.id AND coin.pown = new.before AND coin.changed_at = new.changed_at
   AND coin.state IN ('bank', 'fracked') AND (coin.task_id IS NULL OR coin.task_id = %(task)s)
