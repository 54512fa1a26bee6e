-- The CTE `lines`: what moved tokens of any wallet, from transfers and issues. Of transfers that completed at once those
-- up to the checkpoint alone, and `number` of these alone.
lines (wallet_id, at, received, sent, issued, number) AS (
    SELECT side.wallet_id, closed_at, side.received, side.sent, 0, CASE closed_event WHEN '' THEN number END
      FROM transfers_transfer
     CROSS JOIN LATERAL (VALUES (destination_id, moved_count, 0), (source_id, 0, moved_count)
                        ) AS side (wallet_id, received, sent)
     WHERE state = 'completed'
       AND (closed_event <> '' OR number <= (SELECT coalesce(max(number), 0) FROM transfers_tallymark))
     UNION ALL SELECT wallet_id, issued_at, 0, 0, tokens, NULL FROM transfers_issue
)
