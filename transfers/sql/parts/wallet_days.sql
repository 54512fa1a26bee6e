-- Days (UTC) of wallets, from the CTE `lines`.
SELECT wallet_id, (at AT TIME ZONE 'UTC')::date AS day, sum(received)::bigint AS received, sum(sent)::bigint AS sent,
       sum(issued)::bigint AS issued, count(*) AS lines, min(number) AS first_number, max(number) AS last_number
  FROM lines WHERE received + sent + issued > 0 GROUP BY 1, 2
