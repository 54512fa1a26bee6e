-- A page of the statement of a wallet: its period, both balances, and the lines with their running balances.
--
-- The days of the wallet say up to when there are enough lines. The first of them may have been read in part, so its
-- lines do not count.
WITH asked AS MATERIALIZED (
    SELECT start, least(greatest(coalesce(%(end)s::timestamptz, 'infinity'), start), clock.now) AS until,
           greatest(%(after_at)s::timestamptz, start) AS page_start
      FROM (SELECT clock_timestamp() AS now) AS clock
     CROSS JOIN LATERAL (
               SELECT least(clock.now, coalesce(%(start)s::timestamptz, least(
                   (SELECT min(day)::timestamp AT TIME ZONE 'UTC' FROM transfers_walletday
                     WHERE wallet_id = %(wallet)s::uuid),
                   (SELECT min(at) FROM transfers_tallydelta WHERE wallet_id = %(wallet)s::uuid),
                   (SELECT created_at FROM wallets_wallet WHERE id = %(wallet)s::uuid)))) AS start
           ) AS begun
), counted AS (
    SELECT day, sum(lines) OVER (ORDER BY day) - first_value(lines) OVER (ORDER BY day) AS lines
      FROM transfers_walletday
     WHERE wallet_id = %(wallet)s::uuid AND day >= (SELECT (page_start AT TIME ZONE 'UTC')::date FROM asked)
), ended AS MATERIALIZED (
    SELECT asked.*, least(until, (SELECT (min(day) + 1)::timestamp AT TIME ZONE 'UTC' FROM counted
                                   WHERE lines >= %(fetch)s::bigint + %(offset)s::bigint)) AS page_end
      FROM asked
), period AS MATERIALIZED (
    SELECT ended.*, {opening} AS opening, {closing} AS closing, {page_balance} AS page_balance FROM ended
), line AS (
    SELECT at, kind, number, line.tokens, other_id,
           (page_balance + sum(line.tokens) OVER (ORDER BY at, kind, number))::bigint AS balance
      FROM period CROSS JOIN LATERAL ({lines}) AS line
), page AS (
    SELECT * FROM line
     WHERE %(after_at)s::timestamptz IS NULL
        OR (at, kind, number) > (%(after_at)s::timestamptz, %(after_kind)s::integer, %(after_number)s::bigint)
     ORDER BY at, kind, number LIMIT %(fetch)s::bigint OFFSET %(offset)s::bigint
)
SELECT period.start, period.until, period.opening, period.closing,
       page.at, page.kind, page.number, page.tokens, page.balance, transfer.id, other.id, other.name
  FROM period
  LEFT JOIN page ON true
  LEFT JOIN transfers_transfer AS transfer ON page.kind > 0 AND transfer.number = page.number
  LEFT JOIN wallets_wallet AS other ON other.id = page.other_id
 ORDER BY page.at, page.kind, page.number
