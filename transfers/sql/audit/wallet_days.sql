WITH {all_lines}, truth AS (
    {wallet_days}
), kept AS (
    SELECT wallet_id, day, sum(received) AS received, sum(sent) AS sent, sum(issued) AS issued, sum(lines) AS lines,
           min(first_number) AS first_number, max(last_number) AS last_number
      FROM (SELECT wallet_id, day, received, sent, issued, lines, first_number, last_number FROM transfers_walletday
             UNION ALL
            SELECT wallet_id, (at AT TIME ZONE 'UTC')::date, CASE WHEN is_issue THEN 0 ELSE greatest(tokens, 0) END,
                   CASE WHEN is_issue THEN 0 ELSE greatest(-tokens, 0) END, CASE WHEN is_issue THEN tokens ELSE 0 END,
                   1, NULL, NULL
              FROM transfers_tallydelta WHERE at IS NOT NULL AND tokens <> 0) AS known
     GROUP BY wallet_id, day
)
SELECT format('wallet %%s, %%s: received %%s, sent %%s, issued %%s by %%s movements, transfers %%s to %%s; '
              'kept as %%s, %%s, %%s by %%s, transfers %%s to %%s', wallet_id, day,
              coalesce(truth.received, 0), coalesce(truth.sent, 0), coalesce(truth.issued, 0), coalesce(truth.lines, 0),
              coalesce(truth.first_number::text, '-'), coalesce(truth.last_number::text, '-'),
              coalesce(kept.received, 0), coalesce(kept.sent, 0), coalesce(kept.issued, 0), coalesce(kept.lines, 0),
              coalesce(kept.first_number::text, '-'), coalesce(kept.last_number::text, '-'))
  FROM truth FULL JOIN kept USING (wallet_id, day)
 WHERE (truth.received, truth.sent, truth.issued, truth.lines)
       IS DISTINCT FROM (kept.received::bigint, kept.sent::bigint, kept.issued::bigint, kept.lines::bigint)
    OR kept.first_number > truth.first_number OR kept.last_number < truth.last_number
    OR (kept.first_number IS NULL) <> (truth.first_number IS NULL)
