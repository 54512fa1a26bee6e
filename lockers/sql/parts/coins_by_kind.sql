-- All coins of a kind at once. The caller has locked the rows, so they are of the kinds that it read; naming each coin
-- costs half as much again.
           (SELECT *, NULL::bytea AS secrets, NULL::bytea AS proposed
              FROM unnest(%(of_is_put)s::bool[], %(of_state)s::text[], %(of_pown)s::text[], %(of_outcome)s::text[],
                          %(of_releasing)s::bool[], %(of_origin)s::text[], %(powns)s::text[], %(shown)s::text[])
                   AS kind (is_put, old_state, pown, outcome, releasing, origin, new_pown, shown)) AS new
     WHERE lockers_coin.batch = %(batch)s AND (lockers_coin.locker_id IS NOT NULL) = new.is_put
       AND lockers_coin.state = new.old_state AND lockers_coin.pown = new.pown AND lockers_coin.outcome = new.outcome
       AND lockers_coin.releasing = new.releasing AND lockers_coin.origin = new.origin
