-- Webhooks whose owner does not control the wallet of the events.
SELECT webhook.id FROM webhooks_webhook AS webhook
 WHERE webhook.state = 'enabled' AND NOT webhook.owner_id = webhook.wallet_id
   AND NOT EXISTS (SELECT FROM trusts_power AS power
                    WHERE power.holder_id = webhook.owner_id AND power.subject_id = webhook.wallet_id
                      AND power.power = 'manage')
 ORDER BY webhook.id
