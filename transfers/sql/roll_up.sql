-- Adds all transfers that completed at once, up to the settled number, and all differences to the counters and to the
-- days of wallets.
WITH moved AS (
    SELECT number, source_id, destination_id, moved_count, created_at, closed_at FROM transfers_transfer
     WHERE number > (SELECT coalesce(max(number), 0) FROM transfers_tallymark) AND number <= %(settled)s
       AND state = 'completed' AND closed_event = ''
), taken AS (
    DELETE FROM transfers_tallydelta RETURNING wallet_id, tokens, at, is_issue
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
), lines (wallet_id, at, received, sent, issued, number) AS (
    SELECT destination_id, closed_at, moved_count, 0, 0, number FROM moved
     UNION ALL SELECT source_id, closed_at, 0, moved_count, 0, number FROM moved
     UNION ALL SELECT wallet_id, at, greatest(tokens, 0), greatest(-tokens, 0), 0, NULL FROM taken
                WHERE at IS NOT NULL AND NOT is_issue
     UNION ALL SELECT wallet_id, at, 0, 0, tokens, NULL FROM taken WHERE at IS NOT NULL AND is_issue
), wallet_days AS (
    INSERT INTO transfers_walletday AS known (
           wallet_id, day, received, sent, issued, lines, first_number, last_number)
    SELECT * FROM ({wallet_days}) AS day ORDER BY wallet_id, day
        ON CONFLICT (wallet_id, day) DO UPDATE
       SET received = known.received + excluded.received, sent = known.sent + excluded.sent,
           issued = known.issued + excluded.issued, lines = known.lines + excluded.lines,
           first_number = least(known.first_number, excluded.first_number),
           last_number = greatest(known.last_number, excluded.last_number)
)
INSERT INTO transfers_tallymark AS checkpoint (id, number) VALUES (1, %(settled)s)
    ON CONFLICT (id) DO UPDATE SET number = greatest(checkpoint.number, excluded.number)
