-- Transfers that are open in Coppice, and that the source closed or whose tokens it moved.
UPDATE transfers_transfer AS here
   SET state = planned.state, reserved_count = 0, closed_from = here.state,
       moved_count = CASE planned.state WHEN 'completed' THEN here.token_count ELSE 0 END,
       closed_at = greatest(here.created_at, CASE planned.state WHEN 'completed' THEN planned.closed_at
                                                                ELSE %(now)s::timestamptz END),
       closed_event = CASE WHEN planned.state <> 'completed' THEN planned.closed_event
                           WHEN here.state = 'pending' THEN 'accept' ELSE 'fulfill' END
  FROM import_group AS planned
 WHERE planned.is_known AND planned.state <> 'pending' AND planned.id = here.id
   AND here.state IN ('requested', 'pending')
