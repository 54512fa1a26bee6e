-- The one group of a list by id: the next rows of the primary key, as far as they are of a wallet in `party`. At most half
-- as many are read as the list had at the checkpoint.
most AS MATERIALIZED (
    SELECT coalesce(sum({tally}), 0)::bigint / 2 AS most FROM transfers_listtally WHERE wallet_id = {whose}
), group_0 AS MATERIALIZED (
    SELECT 0 AS place, id, number
      FROM (SELECT id, number, source_id, destination_id, originator_id, state FROM transfers_transfer
             WHERE {behind} ORDER BY id {direction} LIMIT (SELECT most FROM most)) AS next
     WHERE (source_id IN (SELECT id FROM party) OR destination_id IN (SELECT id FROM party)
            OR originator_id IN (SELECT id FROM party)){state}
     ORDER BY id {direction} LIMIT (SELECT rows FROM wanted)
), whole_0 AS MATERIALIZED (
    SELECT (SELECT count(*) FROM group_0) = (SELECT rows FROM wanted)
           OR NOT EXISTS (SELECT FROM transfers_transfer
                           WHERE {behind} ORDER BY id {direction} OFFSET (SELECT most FROM most)) AS is_whole
)
