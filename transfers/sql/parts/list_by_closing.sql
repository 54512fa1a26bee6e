-- The closed transfers of a list by the time of closing. `late`: the next ones that were closed later than they were
-- created, from an index by that time; the first row of each wallet and column bounds them. `closing`: the numbers of
-- the others, which were created from the position on, and not behind the last row of a full page of late ones.
late_head AS MATERIALIZED (
    SELECT wallet.id, head.* FROM party AS wallet CROSS JOIN LATERAL ({heads}) AS head WHERE {is_wanted}
), late_reach AS MATERIALIZED (
    SELECT at FROM (SELECT DISTINCT at, number FROM late_head) AS nearest
     ORDER BY at {direction}, number {direction} OFFSET {rows} - 1 LIMIT 1
), late AS MATERIALIZED (
    SELECT DISTINCT within.at, within.number FROM late_head AS head CROSS JOIN LATERAL ({within}) AS within
     WHERE head.at {before}= coalesce((SELECT at FROM late_reach), {end})
     ORDER BY at {direction}, number {direction} LIMIT {rows}
), late_last AS MATERIALIZED (
    SELECT at FROM late ORDER BY at {direction}, number {direction} OFFSET {rows} - 1 LIMIT 1
), {closing}{at_once}, group_closed AS MATERIALIZED (
    SELECT 0 AS place, at, number
      FROM (SELECT at, number FROM group_at_once UNION ALL SELECT at, number FROM late) AS closed
     ORDER BY at {direction}, number {direction} LIMIT {rows}
)
