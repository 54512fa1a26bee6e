-- Leases to the caller the next task of the wallet whose turn it is: the wallet with the fewest tasks at work, among
-- these the one that was served longest ago. A wallet with `at_most` long tasks or peeks at work gets no further one of
-- this sort.
WITH open AS MATERIALIZED (
    SELECT id, actor_id, is_long, kind = 'peek' AS is_peek, is_wanted, is_parked, created_at,
           coalesce(lease_until > now(), false) AS is_held
      FROM lockers_lockertask WHERE state = 'running'
), at_work AS (
    SELECT actor_id, count(*) AS tasks, count(*) FILTER (WHERE is_long) AS long_ones,
           count(*) FILTER (WHERE is_peek) AS peeks
      FROM open WHERE is_held GROUP BY actor_id
), first AS (
    SELECT DISTINCT ON (open.actor_id) open.id, open.actor_id, open.created_at, coalesce(at_work.tasks, 0) AS tasks
      FROM open LEFT JOIN at_work USING (actor_id)
     WHERE NOT is_held AND NOT is_parked
       AND (NOT is_long OR coalesce(at_work.long_ones, 0) < %(at_most)s::integer)
       AND (NOT is_peek OR coalesce(at_work.peeks, 0) < %(at_most)s::integer)
     ORDER BY open.actor_id, is_wanted DESC, open.created_at, open.id
), chosen AS (
    SELECT first.id, first.actor_id FROM first LEFT JOIN lockers_turn AS turn ON turn.wallet_id = first.actor_id
     ORDER BY first.tasks, turn.served_at NULLS FIRST, first.created_at, first.id LIMIT 1
), mine AS (
    SELECT task.id, task.actor_id FROM lockers_lockertask AS task JOIN chosen USING (id)
     WHERE task.state = 'running' FOR NO KEY UPDATE OF task SKIP LOCKED
), served AS (
    INSERT INTO lockers_turn (wallet_id, served_at) SELECT actor_id, clock_timestamp() FROM mine
    ON CONFLICT (wallet_id) DO UPDATE SET served_at = EXCLUDED.served_at
)
UPDATE lockers_lockertask AS task
   SET attempt = attempt + 1, lease_until = now() + make_interval(secs => %(lease)s::double precision)
  FROM mine WHERE task.id = mine.id AND (task.lease_until IS NULL OR task.lease_until < now())
RETURNING task.id, task.attempt, task.request_id
