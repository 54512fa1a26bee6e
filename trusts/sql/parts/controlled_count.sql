-- How many wallets the wallet in "me" controls: the managed ones in an index, and itself.
WITH me AS MATERIALIZED (SELECT %(actor)s::uuid AS id)
SELECT (SELECT count(*) FROM (
            SELECT DISTINCT managed_created_at, subject_id
              FROM trusts_power
             WHERE holder_id = (SELECT id FROM me) AND power = 'manage' AND managed_created_at IS NOT NULL {managed}
       ) AS managed)
       + (SELECT count(*) FROM wallets_wallet JOIN me USING (id) WHERE {own})
