-- Claims due deliveries: of each webhook as many as may be sent at once, and of webhooks whose last attempt failed no
-- more in all than a part, so that receivers that do not answer delay no others. `waiting`: the webhooks with pending
-- deliveries, found one by one in the index. A webhook whose owner no longer controls the wallet gets nothing.
-- `created_at` selects the partition.
WITH RECURSIVE {waiting}, able AS MATERIALIZED (
    SELECT webhook.id, webhook.failing_since IS NOT NULL AS is_failing,
           CASE WHEN webhook.failing_since IS NULL THEN %(at_once)s::int ELSE 1 END
           - (SELECT count(*) FROM webhooks_webhookdelivery AS leased
               WHERE leased.webhook_id = webhook.id AND leased.lease_until IS NOT NULL
                 AND leased.lease_until >= now()) AS free
      FROM waiting JOIN webhooks_webhook AS webhook ON webhook.id = waiting.webhook_id
     WHERE webhook.state = 'enabled'
       AND (webhook.owner_id = webhook.wallet_id
            OR EXISTS (SELECT FROM trusts_power AS power
                        WHERE power.holder_id = webhook.owner_id AND power.subject_id = webhook.wallet_id
                          AND power.power = 'manage'))
), due AS MATERIALIZED (
    SELECT delivery.id, delivery.created_at, able.is_failing,
           row_number() OVER (PARTITION BY able.is_failing ORDER BY delivery.due_at) AS place
      FROM able CROSS JOIN LATERAL (
           SELECT each.id, each.created_at, each.due_at FROM webhooks_webhookdelivery AS each
            WHERE each.webhook_id = able.id AND each.state = 'pending' AND each.due_at <= now()
              AND (each.lease_until IS NULL OR each.lease_until < now())
            ORDER BY each.due_at LIMIT greatest(able.free, 0)) AS delivery
), mine AS MATERIALIZED (
    SELECT delivery.id, delivery.created_at
      FROM due JOIN webhooks_webhookdelivery AS delivery
           ON delivery.id = due.id AND delivery.created_at = due.created_at
     WHERE due.place <= CASE WHEN due.is_failing THEN %(failing)s::bigint ELSE %(healthy)s::bigint END
       AND delivery.state = 'pending' AND (delivery.lease_until IS NULL OR delivery.lease_until < now())
       FOR NO KEY UPDATE OF delivery SKIP LOCKED
)
UPDATE webhooks_webhookdelivery AS delivery
   SET attempt = delivery.attempt + 1, lease_until = now() + make_interval(secs => %(lease)s)
  FROM mine, webhooks_webhook AS webhook, webhooks_webhookmessage AS message
 WHERE delivery.id = mine.id AND delivery.created_at = mine.created_at
   AND webhook.id = delivery.webhook_id AND message.id = delivery.message_id
RETURNING delivery.id, delivery.created_at, delivery.attempt, delivery.failures, webhook.id,
          webhook.failing_since IS NOT NULL, webhook.url, webhook.secret,
          CASE WHEN webhook.previous_until > now() THEN webhook.previous_secret END, message.id, message.body
