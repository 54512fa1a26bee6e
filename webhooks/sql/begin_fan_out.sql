-- Begins the fan-out at a number of an event, unless it has a position.
INSERT INTO webhooks_fanout (id, number) VALUES (1, %(number)s) ON CONFLICT (id) DO NOTHING
