-- Creates the messages of events that a webhook wants, and their deliveries. Deliveries are due in the order of the
-- events. A webhook whose owner no longer controls the wallet gets none. Webhooks are locked against deletion: the
-- foreign key is checked at the commit only, where it would undo the whole fan-out. The webhooks of each event are
-- looked up for themselves: joined with all events, all webhooks may be read for each of them.
WITH event AS MATERIALIZED (
    SELECT * FROM unnest(%(ids)s::uuid[], %(numbers)s::bigint[], %(wallets)s::uuid[], %(types)s::text[],
                         %(bodies)s::text[]) WITH ORDINALITY AS event (id, number, wallet_id, type, body, place)
), wanted AS MATERIALIZED (
    SELECT event.id AS message_id, event.type, event.body, event.place, webhook.id AS webhook_id
      FROM event CROSS JOIN LATERAL (
           SELECT each.id FROM webhooks_webhook AS each
            WHERE each.wallet_id = event.wallet_id AND each.state = 'enabled' AND each.after_number < event.number
              AND (each.event_types = '{}' OR event.type = ANY (each.event_types))
              AND (each.owner_id = each.wallet_id
                   OR EXISTS (SELECT FROM trusts_power AS power
                               WHERE power.holder_id = each.owner_id AND power.subject_id = each.wallet_id
                                 AND power.power = 'manage' OFFSET 0))
              FOR KEY SHARE) AS webhook
), message AS (
    INSERT INTO webhooks_webhookmessage (id, type, body)
    SELECT DISTINCT ON (wanted.message_id) wanted.message_id, wanted.type, wanted.body FROM wanted
)
INSERT INTO webhooks_webhookdelivery (id, webhook_id, message_id, state, due_at)
SELECT gen_random_uuid(), wanted.webhook_id, wanted.message_id, 'pending',
       statement_timestamp() + wanted.place * interval '1 microsecond'
  FROM wanted
