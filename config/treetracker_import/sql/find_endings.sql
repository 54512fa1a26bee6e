-- By what event a cancelled transfer ended, from the events of the source.
INSERT INTO import_ending (transfer_id, event)
SELECT DISTINCT ON (transfer.id) transfer.id,
       CASE event.here_type WHEN 'transfer_request_cancelled_by_destination' THEN 'decline' ELSE 'delete' END
  FROM import_event AS event
  JOIN import_transfer AS transfer
    ON transfer.id::text = coalesce(event.payload -> 'result' ->> 'id', event.payload ->> 'transferId')
 WHERE transfer.state = 'cancelled'
   AND event.here_type IN ('transfer_request_cancelled_by_destination', 'transfer_pending_cancelled_by_requestor')
 ORDER BY transfer.id, event.created_at DESC
