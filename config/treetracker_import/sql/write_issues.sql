-- How many tokens were issued to each wallet at each time.
WITH issued AS (
    SELECT destination_id AS wallet_id, count(*) AS tokens, at
      FROM import_movement WHERE number = 0 GROUP BY destination_id, at
), counted AS (
    INSERT INTO transfers_tallydelta (wallet_id, tokens, at, is_issue)
    SELECT wallet_id, tokens, at, true FROM issued
)
INSERT INTO transfers_issue (wallet_id, tokens, issued_at) SELECT wallet_id, tokens, at FROM issued ORDER BY at
