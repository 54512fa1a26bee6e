WITH me AS MATERIALIZED (SELECT %(actor)s::uuid AS id), managed AS (
    SELECT DISTINCT managed_created_at AS created_at, subject_id AS id
      FROM trusts_power
     WHERE holder_id = (SELECT id FROM me) AND power = 'manage' AND managed_created_at IS NOT NULL {managed}
     ORDER BY managed_created_at {direction}, subject_id {direction}
     LIMIT (SELECT %(fetch)s::bigint + %(offset)s::bigint)
)
SELECT id, created_at, false AS is_own FROM managed
 UNION ALL SELECT id, created_at, true FROM wallets_wallet JOIN me USING (id) WHERE {own}
 ORDER BY {order} LIMIT (SELECT %(fetch)s::bigint) OFFSET (SELECT %(offset)s::bigint)
