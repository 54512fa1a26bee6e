-- A page of the wallets that the wallet in "me" controls, by the column "{key}". Two trusts may give control of one wallet.
WITH me AS MATERIALIZED (SELECT %(actor)s::uuid AS id), managed AS (
    SELECT DISTINCT ON (managed_{key}, subject_id) managed_{key} AS {key}, subject_id AS id
      FROM trusts_power
     WHERE holder_id = (SELECT id FROM me) AND power = 'manage' AND managed_created_at IS NOT NULL {managed}
     ORDER BY managed_{key} {direction}, subject_id {direction}
     LIMIT (SELECT %(fetch)s::bigint + %(offset)s::bigint)
)
SELECT id, {key}, false AS is_own FROM managed
 UNION ALL SELECT id, {key}, true FROM wallets_wallet JOIN me USING (id) WHERE {own}
 ORDER BY {order} LIMIT (SELECT %(fetch)s::bigint) OFFSET (SELECT %(offset)s::bigint)
