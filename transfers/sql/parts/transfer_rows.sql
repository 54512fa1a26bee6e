-- Transfers with their JSON. Most complete at once, and formatting timestamps dominates the cost. OFFSET 0 keeps
-- the subqueries from being merged, so that the planner memoizes them: most rows have the same few wallets.
SELECT {json} AS json, transfer.number, transfer.id, {state} AS state, {payload} AS payload,
       transfer.has_terms IS TRUE OR transfer.expires_at IS NOT NULL AS has_terms
  FROM {transfers} AS transfer
 CROSS JOIN LATERAL (
           SELECT to_json(name)::text AS name_json FROM wallets_wallet WHERE id = transfer.originator_id OFFSET 0
       ) AS originator
 CROSS JOIN LATERAL (
           SELECT name, to_json(name)::text AS name_json FROM wallets_wallet WHERE id = transfer.source_id OFFSET 0
       ) AS source
 CROSS JOIN LATERAL (
           SELECT name, to_json(name)::text AS name_json
             FROM wallets_wallet WHERE id = transfer.destination_id OFFSET 0
       ) AS destination
 CROSS JOIN LATERAL (SELECT {created_at_json} AS created OFFSET 0) AS at
 {where}
