-- The one group of a list by id, or by the wallet of one party: the next rows of an index of all wallets in that order, as
-- far as they are of a wallet in `party`. At most half as many are read as the list had at the checkpoint, and with dates
-- as many as that share of it that has numbers of these dates.
most AS MATERIALIZED (
    SELECT (coalesce(sum({tally}), 0)::bigint / 2 * {share})::bigint AS most
      FROM transfers_listtally WHERE wallet_id = {whose}
), group_0 AS MATERIALIZED (
    SELECT 0 AS place, key, number
      FROM (SELECT {key} AS key, number, source_id, destination_id, originator_id, state, created_at
              FROM transfers_transfer WHERE {behind} ORDER BY {index} LIMIT (SELECT most FROM most)) AS next
     WHERE (source_id IN (SELECT id FROM party) OR destination_id IN (SELECT id FROM party)
            OR originator_id IN (SELECT id FROM party)){condition}
     ORDER BY key {direction}, number {direction} LIMIT (SELECT rows FROM wanted)
), whole_0 AS MATERIALIZED (
    SELECT (SELECT count(*) FROM group_0) = (SELECT rows FROM wanted)
           OR NOT EXISTS (SELECT FROM transfers_transfer
                           WHERE {behind} ORDER BY {index} OFFSET (SELECT most FROM most)) AS is_whole
)
