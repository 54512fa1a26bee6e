-- Each coin by its id.
           unnest(%(ids)s::uuid[], %(powns)s::text[], %(shown)s::text[], %(secrets)b::bytea[], %(proposed)b::bytea[])
           AS new (id, new_pown, shown, secrets, proposed)
     WHERE lockers_coin.id = new.id
