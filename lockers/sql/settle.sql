-- Ends the part of coins in a task: writes their final state, and for each a line of the receipt. `new`: the coins.
WITH settled AS (
    UPDATE lockers_coin SET state = %(state)s, pown = new.new_pown, task_id = NULL, batch = NULL, outcome = '',
           locker_id = CASE WHEN %(stays_in_locker)s THEN locker_id END, releasing = %(stays_releasing)s,
           changed_at = now(), secrets = coalesce(
               new.secrets, CASE WHEN %(takes_new)s THEN lockers_coin.proposed ELSE lockers_coin.secrets END),
           proposed = CASE WHEN %(keeps_both)s THEN coalesce(new.proposed, lockers_coin.proposed) END
      FROM {new}
       AND lockers_coin.task_id = %(task)s AND lockers_coin.state = ANY(%(before)s)
    RETURNING denomination, serial_number, new.shown, lockers_coin.state
)
INSERT INTO lockers_receiptline (task_id, denomination, serial_number, pown, state)
SELECT %(task)s, denomination, serial_number, shown, state FROM settled
