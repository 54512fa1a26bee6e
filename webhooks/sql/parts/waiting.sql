waiting AS (
    (SELECT webhook_id FROM webhooks_webhookdelivery WHERE state = 'pending' ORDER BY webhook_id LIMIT 1)
     UNION ALL
    SELECT (SELECT delivery.webhook_id FROM webhooks_webhookdelivery AS delivery
             WHERE delivery.state = 'pending' AND delivery.webhook_id > waiting.webhook_id
             ORDER BY delivery.webhook_id LIMIT 1)
      FROM waiting WHERE waiting.webhook_id IS NOT NULL
)
