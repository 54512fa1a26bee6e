-- The next rows of one group: the first row of each stream, in `{nearest}_head`, bounds what the page may have; the page
-- ends at `{nearest}_reach`, if there are as many streams with rows; then the rows within that bound.
{nearest}_head AS MATERIALIZED (
    SELECT wallet.id, head.* FROM party AS wallet CROSS JOIN LATERAL ({heads}) AS head WHERE {is_wanted}
), {nearest}_reach AS MATERIALIZED (
    (SELECT number FROM (SELECT DISTINCT number FROM {nearest}_head) AS nearest
      ORDER BY number {direction} OFFSET {rows} - 1 LIMIT 1)
     UNION ALL SELECT {last} ORDER BY number {direction} LIMIT 1
), {nearest} AS MATERIALIZED (
    SELECT DISTINCT within.number, within.created_at FROM {nearest}_head AS head CROSS JOIN LATERAL ({within}) AS within
     WHERE head.number {before}= (SELECT number FROM {nearest}_reach)
     ORDER BY number {direction} LIMIT {rows}
)
