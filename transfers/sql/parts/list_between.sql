-- `{between}`: the numbers of all transfers of the wanted times are above `low` and below `high`. All transfers above
-- `inner_low` and below `inner_high` are of these times.
{between} AS MATERIALIZED (
    SELECT low, high, inner_low, greatest(inner_low + 1, inner_high) AS inner_high
      FROM (SELECT CASE WHEN {since} IS NULL THEN {first}
                        ELSE coalesce((SELECT span * {span} - 1 FROM transfers_listspan
                                        WHERE newest_at >= {since} ORDER BY newest_at, span LIMIT 1),
                                      checkpoint.number) END AS low,
                   CASE WHEN {until} IS NULL OR NOT (SELECT is_known AND oldest_at >= {until} FROM recent) THEN {last}
                        ELSE coalesce((SELECT span * {span} FROM transfers_listspan
                                        WHERE oldest_at >= {until} ORDER BY oldest_at, span LIMIT 1),
                                      checkpoint.number + 1) END AS high,
                   CASE WHEN {since} IS NULL THEN {first}
                        ELSE coalesce((SELECT span * {span} - 1 FROM transfers_listspan
                                        WHERE oldest_at >= {since} ORDER BY oldest_at, span LIMIT 1),
                                      checkpoint.number) END AS inner_low,
                   least(checkpoint.number + 1,
                         CASE WHEN {until} IS NULL THEN {last}
                              ELSE coalesce((SELECT span * {span} + {span} FROM transfers_listspan
                                              WHERE newest_at < {until} ORDER BY newest_at DESC, span DESC LIMIT 1),
                                            {first}) END) AS inner_high
              FROM checkpoint) AS numbers
),
