-- Pending transfers of Coppice of whose tokens the source moved some: listed ones fail, bundles get others if they can.
INSERT INTO import_group (id, originator_id, source_id, destination_id, parameters, state, token_count, reserved_count,
                          moved_count, created_at, closed_at, closed_event, closed_from, is_made, is_known)
SELECT here.id, originator_id, here.source_id, destination_id, parameters,
       CASE WHEN broken.is_bundle THEN 'pending' ELSE 'failed' END, token_count, 0, 0, created_at,
       CASE WHEN NOT broken.is_bundle THEN %(now)s::timestamptz END,
       CASE WHEN broken.is_bundle THEN '' ELSE 'expire' END, '', false, true
  FROM import_broken AS broken JOIN transfers_transfer AS here ON here.id = broken.id
