(
    SELECT * FROM {numbered} AS numbered
     UNION ALL
    SELECT undecided.*
      FROM transfers_latetransfer AS late JOIN transfers_transfer AS undecided ON undecided.number = late.number
     WHERE late.decided_id IS NULL AND NOT EXISTS (
           SELECT FROM unnest(%(transfers_after)s::bigint[], %(transfers_upto)s::bigint[]) AS span (after, upto)
            WHERE late.number > span.after AND late.number <= span.upto))
