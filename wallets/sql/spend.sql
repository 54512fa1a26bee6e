-- Counts the tokens that a valid restricted key moves or reserves: one row, whether its limit of the day (UTC) allows
-- them, and those of the day before them; no row if the key has ended. Its row is locked: of two transfers the second
-- counts what the first has spent, and its end waits for both.
WITH held AS MATERIALIZED (
    SELECT id, tokens_per_day, (clock_timestamp() AT TIME ZONE 'UTC')::date AS day,
           CASE WHEN spent_on = (clock_timestamp() AT TIME ZONE 'UTC')::date THEN spent ELSE 0 END AS spent
      FROM wallets_restrictedkey
     WHERE id = %(key)s::uuid AND ended_at IS NULL AND coalesce(expires_at > clock_timestamp(), true)
     ORDER BY id
       FOR NO KEY UPDATE
), counted AS (
    UPDATE wallets_restrictedkey AS key
       SET spent = held.spent + %(tokens)s::bigint, spent_on = held.day
      FROM held
     WHERE key.id = held.id AND held.spent + %(tokens)s::bigint <= held.tokens_per_day
)
SELECT coalesce(spent + %(tokens)s::bigint <= tokens_per_day, true), spent FROM held
