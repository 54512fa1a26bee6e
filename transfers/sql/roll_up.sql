-- Adds all transfers that completed at once, up to the settled number, and all differences to the counters.
WITH moved AS (
    SELECT source_id, destination_id, moved_count, created_at FROM transfers_transfer
     WHERE number > (SELECT coalesce(max(number), 0) FROM transfers_tallymark) AND number <= %(settled)s
       AND state = 'completed' AND closed_event = ''
), taken AS (
    DELETE FROM transfers_tallydelta RETURNING wallet_id, tokens
), change AS (
    SELECT wallet_id, sum(tokens) AS tokens
      FROM (SELECT destination_id, moved_count FROM moved
            UNION ALL SELECT source_id, -moved_count FROM moved
            UNION ALL SELECT wallet_id, tokens FROM taken) AS difference (wallet_id, tokens)
     GROUP BY wallet_id HAVING sum(tokens) <> 0
), rolled_up AS (
    INSERT INTO transfers_tokentally AS tally (wallet_id, tokens)
    SELECT wallet_id, tokens FROM change
        ON CONFLICT (wallet_id) DO UPDATE SET tokens = tally.tokens + excluded.tokens
), days AS (
    INSERT INTO transfers_daytally AS tally (day, transfers, tokens)
    SELECT (created_at AT TIME ZONE 'UTC')::date, count(*), sum(moved_count) FROM moved GROUP BY 1
        ON CONFLICT (day) DO UPDATE SET transfers = tally.transfers + excluded.transfers,
                                        tokens = tally.tokens + excluded.tokens
)
INSERT INTO transfers_tallymark AS checkpoint (id, number) VALUES (1, %(settled)s)
    ON CONFLICT (id) DO UPDATE SET number = greatest(checkpoint.number, excluded.number)
