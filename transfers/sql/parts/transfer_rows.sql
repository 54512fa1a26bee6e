-- Transfers as JSON, in the fields and the order of config.api.treetracker.transfer_serializers.transfer. Most complete at
-- once, and formatting timestamps dominates the cost. A few wallets are named again and again: kept apart by OFFSET, each
-- name is looked up and written as JSON once.
SELECT concat('{"id":"', transfer.id, '","type":"send","parameters":', transfer.parameters, ',"state":"', transfer.state,
              '","created_at":', at.created,
              ',"closed_at":', coalesce(CASE WHEN transfer.closed_at = transfer.created_at THEN at.created
                                             ELSE {closed_at} END, 'null'),
              ',"active":true,"claim":false,"originating_wallet":', originator.name_json,
              ',"source_wallet":', source.name_json, ',"destination_wallet":', destination.name_json, '}') AS json,
       transfer.number
  FROM {transfers} AS transfer
 CROSS JOIN LATERAL (
           SELECT to_json(name)::text AS name_json FROM wallets_wallet WHERE id = transfer.originator_id OFFSET 0
       ) AS originator
 CROSS JOIN LATERAL (
           SELECT to_json(name)::text AS name_json FROM wallets_wallet WHERE id = transfer.source_id OFFSET 0
       ) AS source
 CROSS JOIN LATERAL (
           SELECT to_json(name)::text AS name_json FROM wallets_wallet WHERE id = transfer.destination_id OFFSET 0
       ) AS destination
 CROSS JOIN LATERAL (SELECT {created_at} AS created OFFSET 0) AS at
 {where} ORDER BY transfer.number OFFSET (SELECT %(offset)s::bigint)
