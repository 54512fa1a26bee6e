-- Creates the messages of events that a webhook wants, and their deliveries. Deliveries are due in the order of the
-- events. A webhook whose owner no longer controls the wallet gets none. Webhooks are locked against deletion: the
-- foreign key is checked at the commit only, where it would undo the whole fan-out.
WITH event AS MATERIALIZED (
    SELECT * FROM unnest(%(ids)s::uuid[], %(numbers)s::bigint[], %(wallets)s::uuid[], %(types)s::text[],
                         %(bodies)s::text[]) WITH ORDINALITY AS event (id, number, wallet_id, type, body, place)
), wanted AS MATERIALIZED (
    SELECT event.id AS message_id, event.place, webhook.id AS webhook_id
      FROM event JOIN webhooks_webhook AS webhook ON webhook.wallet_id = event.wallet_id
     WHERE webhook.state = 'enabled' AND webhook.after_number < event.number
       AND (webhook.event_types = '{}' OR event.type = ANY (webhook.event_types))
       AND (webhook.owner_id = webhook.wallet_id
            OR EXISTS (SELECT FROM trusts_power AS power
                        WHERE power.holder_id = webhook.owner_id AND power.subject_id = webhook.wallet_id
                          AND power.power = 'manage'))
       FOR KEY SHARE OF webhook
), message AS (
    INSERT INTO webhooks_webhookmessage (id, type, body)
    SELECT event.id, event.type, event.body FROM event WHERE event.id IN (SELECT wanted.message_id FROM wanted)
)
INSERT INTO webhooks_webhookdelivery (id, webhook_id, message_id, state, due_at)
SELECT gen_random_uuid(), wanted.webhook_id, wanted.message_id, 'pending',
       statement_timestamp() + wanted.place * interval '1 microsecond'
  FROM wanted
