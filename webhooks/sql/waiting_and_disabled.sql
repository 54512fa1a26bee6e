-- Disabled webhooks with pending deliveries.
WITH RECURSIVE {waiting}
SELECT webhook_id FROM waiting
 WHERE EXISTS (SELECT FROM webhooks_webhook AS webhook
                WHERE webhook.id = waiting.webhook_id AND webhook.state = 'disabled' OFFSET 0)
 ORDER BY webhook_id
