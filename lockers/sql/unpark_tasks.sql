-- Unparks tasks that can proceed, or are past their deadline.
UPDATE lockers_lockertask SET is_parked = false, rung_at = now() WHERE id = ANY (ARRAY(
    SELECT id FROM lockers_lockertask AS task WHERE task.state = 'running' AND task.is_parked AND (
           task.deadline < now()
        OR NOT EXISTS (SELECT FROM lockers_coin WHERE task_id = task.id AND state = 'waiting')
        OR EXISTS (
            SELECT FROM lockers_coin AS mine WHERE mine.task_id = task.id AND mine.state = 'waiting' AND (
                   EXISTS (SELECT FROM lockers_coin AS other
                            WHERE other.denomination = mine.denomination AND other.serial_number = mine.serial_number
                              AND {is_held} AND {is_settled})
                OR {is_first})))
     ORDER BY task.created_at LIMIT %(limit)s FOR NO KEY UPDATE SKIP LOCKED))
RETURNING id
