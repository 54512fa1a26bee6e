-- The numbers of the transfers and of the new events, in the order of time: one sequence orders both.
WITH ordered AS (
    SELECT id, is_event, %(base)s::bigint + row_number() OVER (ORDER BY at, is_event, id) AS number
      FROM (SELECT id, created_at AS at, false AS is_event FROM import_group WHERE NOT is_known
             UNION ALL
            SELECT id, created_at, true FROM import_event WHERE number = 0) AS row
), events AS (
    UPDATE import_event AS event SET number = ordered.number FROM ordered
     WHERE ordered.is_event AND event.id = ordered.id
)
INSERT INTO import_number (id, number, is_known)
SELECT id, number, false FROM ordered WHERE NOT is_event
 UNION ALL
SELECT planned.id, here.number, true FROM import_group AS planned
  JOIN transfers_transfer AS here ON here.id = planned.id WHERE planned.is_known
