-- A claim, `mine`, that may begin: no other is being decided, and no earlier one waits. With OFFSET each claim is looked up.
NOT EXISTS (SELECT FROM lockers_coin AS other
             WHERE other.denomination = mine.denomination AND other.serial_number = mine.serial_number
               AND {is_held} OFFSET 0)
AND NOT EXISTS (SELECT FROM lockers_coin AS other
                 WHERE other.denomination = mine.denomination AND other.serial_number = mine.serial_number
                   AND other.state = 'waiting' AND (other.created_at, other.id) < (mine.created_at, mine.id) OFFSET 0)
