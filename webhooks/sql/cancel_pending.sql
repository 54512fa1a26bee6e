-- Cancels pending deliveries of a webhook, those first that are due first.
UPDATE webhooks_webhookdelivery SET state = 'cancelled', lease_until = NULL
 WHERE webhook_id = %(webhook)s AND state = 'pending'
   AND due_at <= (SELECT max(due_at) FROM (
       SELECT due_at FROM webhooks_webhookdelivery WHERE webhook_id = %(webhook)s AND state = 'pending'
        ORDER BY due_at LIMIT %(most)s) AS first)
