-- A completed transfer for all steps that have none in the source.
INSERT INTO import_group (id, originator_id, source_id, destination_id, parameters, state, token_count, reserved_count,
                          moved_count, created_at, closed_at, closed_event, closed_from, is_made, is_known)
SELECT group_id, source_id, source_id, destination_id,
       jsonb_build_object('bundle', jsonb_build_object('bundleSize', count(*))), 'completed', count(*), 0, count(*),
       min(begun_at), max(begun_at), '', '', true, false
  FROM (SELECT group_id, source_id, destination_id, step.at AS begun_at FROM import_step AS step
         WHERE rank > 0 AND NOT EXISTS (SELECT FROM import_group AS known WHERE known.id = step.group_id)) AS step
 GROUP BY group_id, source_id, destination_id
