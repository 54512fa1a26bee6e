-- The kind of each event in Coppice. Where the source says which side cancelled, Coppice says whether the side that was
-- asked declined or the one that asked withdrew.
UPDATE import_event AS event SET here_type = kind.here
  FROM (VALUES ('login', 'login'), ('wallet_created', 'wallet_created'), ('trust_request', 'trust_request'),
               ('trust_request_granted', 'trust_request_granted'),
               ('trust_request_cancelled_by_originator', 'trust_request_cancelled_by_originator'),
               ('trust_request_cancelled_by_actor', 'trust_request_cancelled_by_originator'),
               ('trust_request_cancelled_by_target', 'trust_request_cancelled_by_target'),
               ('transfer_requested', 'transfer_requested'), ('transfer_completed', 'transfer_completed'),
               ('transfer_request_cancelled_by_source', 'transfer_request_cancelled_by_destination'),
               ('transfer_request_cancelled_by_destination', 'transfer_pending_cancelled_by_requestor'),
               ('transfer_request_cancelled_by_originator', 'transfer_pending_cancelled_by_requestor'),
               ('transfer_pending_cancelled_by_destination', 'transfer_request_cancelled_by_destination'),
               ('transfer_pending_cancelled_by_source', 'transfer_pending_cancelled_by_requestor'),
               ('transfer_pending_cancelled_by_requestor', 'transfer_pending_cancelled_by_requestor'),
               ('transfer_failed', 'transfer_failed')) AS kind (there, here)
 WHERE kind.there = event.type
