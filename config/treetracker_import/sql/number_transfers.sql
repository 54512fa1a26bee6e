-- The numbers of the new transfers and events, in the order of time: one sequence orders both.
WITH ordered AS (
    SELECT id, is_event, %(base)s::bigint + row_number() OVER (ORDER BY at, is_event, id) AS number
      FROM (SELECT id, created_at AS at, false AS is_event FROM import_group WHERE NOT is_known
             UNION ALL
            SELECT id, created_at, true FROM import_event WHERE number = 0) AS row
), events AS (
    UPDATE import_event AS event SET number = ordered.number FROM ordered
     WHERE ordered.is_event AND event.id = ordered.id
)
UPDATE import_group AS planned SET number = ordered.number FROM ordered
 WHERE NOT ordered.is_event AND planned.id = ordered.id
