-- Deletes messages that are older than their time, with their deliveries, and returns how many messages.
WITH old AS MATERIALIZED (
    SELECT id FROM webhooks_webhookmessage
     WHERE created_at < now() - make_interval(secs => %(seconds)s) ORDER BY created_at LIMIT %(limit)s
), deliveries AS (
    DELETE FROM webhooks_webhookdelivery WHERE message_id IN (SELECT old.id FROM old)
), messages AS (
    DELETE FROM webhooks_webhookmessage WHERE id IN (SELECT old.id FROM old) RETURNING 1
)
SELECT count(*) FROM messages
