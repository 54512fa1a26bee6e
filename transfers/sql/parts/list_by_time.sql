-- One group of a list by time, of transfers that were read by number: those behind the position, and a margin ahead of it,
-- which may be behind it by time. The page is whole if no other transfer can be in it: those further on have equal times
-- at most, and are behind by their numbers.
{behind}, {ahead}group_{index} AS MATERIALIZED (
    SELECT {place} AS place, created_at AS at, number FROM {near} AS near
     WHERE {position}
     ORDER BY created_at {direction}, number {direction} LIMIT (SELECT rows FROM wanted)
), whole_{index} AS MATERIALIZED (
    SELECT {is_whole_ahead}
           AND ((SELECT count(*) FROM behind_{index}) < (SELECT rows + {margin} FROM wanted)
                OR (SELECT count(*) FROM group_{index}) = (SELECT rows FROM wanted)
                   AND {beyond} {after}= (SELECT at FROM group_{index} ORDER BY at {opposite} LIMIT 1)) IS TRUE AS is_whole
)
