-- Writes results of attempts whose claim is still valid, and returns which. A delivery that was sent again or cancelled
-- has no lease, and one that another worker claimed has another attempt number. `created_at` selects the partition.
UPDATE webhooks_webhookdelivery AS delivery
   SET state = result.state, lease_until = NULL, failures = result.failures,
       due_at = coalesce(now() + make_interval(secs => result.delay), delivery.due_at), sent_at = result.sent_at,
       milliseconds = result.milliseconds, status = result.status, error = result.error, response = result.response
  FROM unnest(%(ids)s::uuid[], %(created_at)s::timestamptz[], %(attempts)s::int[], %(states)s::text[],
              %(failures)s::smallint[], %(delays)s::double precision[], %(sent_at)s::timestamptz[],
              %(milliseconds)s::int[], %(statuses)s::smallint[], %(errors)s::text[], %(responses)s::text[])
       AS result (id, created_at, attempt, state, failures, delay, sent_at, milliseconds, status, error, response)
 WHERE delivery.id = result.id AND delivery.created_at = result.created_at AND delivery.attempt = result.attempt
   AND delivery.state = 'pending' AND delivery.lease_until IS NOT NULL
RETURNING delivery.id
