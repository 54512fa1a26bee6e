-- Makes the waiting claims of a task that are first now incoming, in batches of `size` coins from 0 up.
WITH first AS MATERIALIZED (
    SELECT id, batch AS waited_in FROM lockers_coin AS mine
     WHERE task_id = %(task)s AND state = 'waiting' AND {is_first} ORDER BY denomination, serial_number
       FOR NO KEY UPDATE
), numbered AS (
    SELECT id, waited_in, (row_number() OVER (PARTITION BY waited_in ORDER BY id) - 1) / %(size)s AS position FROM first
), batched AS (
    SELECT id, waited_in, dense_rank() OVER (ORDER BY waited_in DESC, position) - 1 AS batch FROM numbered
), promoted AS (
    UPDATE lockers_coin SET state = 'incoming', batch = batched.batch, outcome = %(marks)s
      FROM batched WHERE lockers_coin.id = batched.id RETURNING batched.batch, batched.waited_in
)
SELECT batch, waited_in, count(*) FROM promoted GROUP BY batch, waited_in
