-- How many tokens were issued to each wallet on each day.
WITH issued AS (
    SELECT destination_id AS wallet_id, count(*) AS tokens, max(at) AS at
      FROM import_movement WHERE number = 0 GROUP BY destination_id, (at AT TIME ZONE 'UTC')::date
), counted AS (
    INSERT INTO transfers_tallydelta (wallet_id, tokens)
    SELECT wallet_id, sum(tokens) FROM issued GROUP BY wallet_id
)
INSERT INTO transfers_issue (wallet_id, tokens, issued_at) SELECT wallet_id, tokens, at FROM issued ORDER BY at
