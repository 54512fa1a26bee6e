-- The balance of a wallet at a moment, or now if that is later, and the moment.
WITH asked AS MATERIALIZED (SELECT least(%(at)s::timestamptz, clock_timestamp()) AS at)
SELECT asked.at, {balance} FROM asked
