-- What becomes of a transfer from one source to each of many destinations, given by id or by the key of a name.
-- `BETWEEN` allows only the unique index of names: for `=` in a join the planner may prefer the trigram index, which
-- reads, for each destination, all wallets whose names share a part with its own.
WITH parties AS MATERIALIZED (
    SELECT given.line, %(actor)s::uuid AS actor_id, %(source)s::uuid AS source_id,
           coalesce(by_id.id, by_name.id) AS destination_id, false AS is_duplicate,
           given.size > source.approval_above OR source.approval_of_new_receivers IS TRUE
               AND transfers_is_new_receiver(source.id, coalesce(by_id.id, by_name.id)) AS needs_approval
      FROM unnest(%(ids)s::uuid[], %(keys)s::text[], %(sizes)s::integer[])
                  WITH ORDINALITY AS given (id, name_key, size, line)
      JOIN wallets_wallet AS source ON source.id = %(source)s::uuid
      LEFT JOIN wallets_wallet AS by_id ON by_id.id = given.id
      LEFT JOIN LATERAL (
                SELECT id FROM wallets_wallet WHERE name_key BETWEEN given.name_key AND given.name_key
                 ORDER BY name_key LIMIT 1
           ) AS by_name ON true
), {decisions}
SELECT destination_id, state, approval_of FROM decision ORDER BY line
