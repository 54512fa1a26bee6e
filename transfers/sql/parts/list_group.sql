-- One group of a list: the first row of each stream bounds what the page may have, then the rows within that bound. The
-- first row of each stream is in `head`; the page ends at `reach`, if there are as many streams with rows.
head_{index} AS MATERIALIZED (
    SELECT wallet.id, head.* FROM party AS wallet CROSS JOIN LATERAL ({heads}) AS head WHERE {is_wanted}
), reach_{index} AS MATERIALIZED (
    (SELECT {names} FROM (SELECT DISTINCT {names} FROM head_{index}) AS nearest
      ORDER BY {order} OFFSET (SELECT rows - 1 FROM wanted) LIMIT 1)
     UNION ALL SELECT {last} ORDER BY {order} LIMIT 1
), group_{index} AS MATERIALIZED (
    SELECT {place} AS place, {names}
      FROM (SELECT DISTINCT within.* FROM head_{index} AS head CROSS JOIN LATERAL ({within}) AS within
             WHERE ({here}) {before}= ({reach})) AS found
     ORDER BY {order} LIMIT (SELECT rows FROM wanted)
)
