-- Adds the silences of servers, and lets a server rest after `before_rest` of them: the longer, the more there were.
-- Not flushed to the disk: a count that is lost in a crash costs a worker one more wait.
WITH how AS MATERIALIZED (SELECT set_config('synchronous_commit', 'off', true))
INSERT INTO lockers_serverhealth AS known (raida, silences, silent_since)
SELECT raida, silent, now() FROM how, unnest(%(raidas)s::smallint[], %(counts)s::int[]) AS given(raida, silent)
 ORDER BY raida
ON CONFLICT (raida) DO UPDATE SET
    silences = known.silences + EXCLUDED.silences,
    rest_until = CASE
        WHEN EXCLUDED.silences > 0 AND known.silences + EXCLUDED.silences >= %(before_rest)s
        THEN now() + make_interval(secs => least(
            %(longest)s, %(shortest)s * 2.0 ^ least(known.silences + EXCLUDED.silences - %(before_rest)s, 20)))
        ELSE known.rest_until END
