-- `between`: the numbers of all transfers of the wanted times are above `low` and below `high`.
between AS MATERIALIZED (
    SELECT CASE WHEN {since}::timestamptz IS NULL THEN {first}
                ELSE coalesce((SELECT span * {span} - 1 FROM transfers_listspan
                                WHERE newest_at >= {since}::timestamptz ORDER BY newest_at, span LIMIT 1),
                              (SELECT number FROM checkpoint)) END AS low,
           CASE WHEN {until}::timestamptz IS NULL
                  OR NOT (SELECT is_known AND oldest_at >= {until}::timestamptz FROM recent) THEN {last}
                ELSE coalesce((SELECT span * {span} FROM transfers_listspan
                                WHERE oldest_at >= {until}::timestamptz ORDER BY oldest_at, span LIMIT 1),
                              (SELECT number FROM checkpoint) + 1) END AS high
),
