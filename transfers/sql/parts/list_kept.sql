-- `kept`: the transfers up to the checkpoint, or from the beginning if the count is out of date. `near`: the next ones of
-- all wallets, if there are few for each wallet that would have to be looked up.
kept AS MATERIALIZED (
    SELECT CASE WHEN is_fresh THEN checkpoint.number ELSE 0 END AS number,
           CASE WHEN is_fresh THEN coalesce(tally.transfers, 0) ELSE 0 END AS transfers
      FROM checkpoint
     CROSS JOIN LATERAL (SELECT {is_fresh} AS is_fresh) AS changes
      LEFT JOIN (SELECT sum({tally})::bigint AS transfers FROM transfers_listtally
                  WHERE wallet_id = {whose}) AS tally ON true
), next_ones AS MATERIALIZED (
    SELECT source_id, destination_id, originator_id FROM transfers_transfer
     WHERE number > (SELECT number FROM kept) ORDER BY number
     LIMIT (SELECT least(4 * count(*), 1000) + 1 FROM party)
), near AS MATERIALIZED (
    SELECT (SELECT count(*) FROM next_ones) <= (SELECT least(4 * count(*), 1000) FROM party) AS is_whole,
           count(*) AS transfers
      FROM next_ones
     WHERE source_id IN (SELECT id FROM party) OR destination_id IN (SELECT id FROM party)
        OR originator_id IN (SELECT id FROM party)
),
