-- Counts the transfers since the checkpoint, up to the settled number, for each party and for each wallet that sees
-- them, and counts anew for wallets whose control changed. One statement, so that all it reads is of one snapshot.
WITH checkpoint AS MATERIALIZED (
    SELECT coalesce(max(number), 0) AS number, (SELECT max(newest_at) FROM transfers_listspan) AS newest_at
      FROM transfers_listmark
), noted AS (
    DELETE FROM transfers_controlchange RETURNING holder_id, subject_id
), changed AS MATERIALIZED (
    SELECT holder_id, subject_id FROM noted
     -- Nothing was ever counted.
     UNION ALL SELECT holder_id, subject_id FROM trusts_power
                WHERE power = 'manage' AND NOT EXISTS (SELECT FROM transfers_listmark)
), newer AS MATERIALIZED (
    SELECT number, source_id, destination_id, originator_id, created_at FROM transfers_transfer
     WHERE number > (SELECT number FROM checkpoint) AND number <= %(settled)s
), spans AS MATERIALIZED (
    SELECT number / {span} AS span, max(newest_at) AS newest_at, min(created_at) AS oldest_at,
           max(newest_at - created_at) AS spread
      FROM (SELECT number, created_at,
                   greatest((SELECT newest_at FROM checkpoint), max(created_at) OVER (ORDER BY number)) AS newest_at
              FROM newer) AS each
     GROUP BY 1
), earlier AS (
    -- None, as long as times are in the order of the numbers.
    UPDATE transfers_listspan SET oldest_at = (SELECT min(oldest_at) FROM spans)
     WHERE oldest_at > (SELECT min(oldest_at) FROM spans) AND span < (SELECT min(span) FROM spans)
), measured AS (
    INSERT INTO transfers_listspan AS kept (span, newest_at, oldest_at, spread)
    SELECT span, newest_at, min(oldest_at) OVER (ORDER BY span DESC), spread FROM spans
        ON CONFLICT (span) DO UPDATE
       SET newest_at = greatest(kept.newest_at, excluded.newest_at),
           oldest_at = least(kept.oldest_at, excluded.oldest_at), spread = greatest(kept.spread, excluded.spread)
), together AS MATERIALIZED (
    SELECT row_number() OVER () AS id, source_id, destination_id, originator_id, count(*) AS transfers
      FROM newer GROUP BY source_id, destination_id, originator_id
), party AS MATERIALIZED (
    SELECT id, transfers, source_id AS wallet_id FROM together
     UNION SELECT id, transfers, destination_id FROM together
     UNION SELECT id, transfers, originator_id FROM together
), viewer AS (
    SELECT id, transfers, wallet_id FROM party
     UNION SELECT party.id, party.transfers, power.holder_id
             FROM party JOIN trusts_power AS power ON power.subject_id = party.wallet_id AND power.power = 'manage'
), manager AS MATERIALIZED (
    SELECT holder_id AS wallet_id,
           (SELECT count(DISTINCT subject_id) FROM trusts_power
             WHERE holder_id = changed.holder_id AND power = 'manage' AND managed_created_at IS NOT NULL) AS managed,
           -- Only transfers of a wallet up to the checkpoint make the number of visible ones wrong.
           bool_or(has_transfers) AS is_stale
      FROM changed CROSS JOIN LATERAL (SELECT {has_transfers} AS has_transfers) AS subject
     GROUP BY holder_id
), recounted AS MATERIALIZED (
    SELECT wallet_id, (SELECT count(seen.number) FROM ({visible}) AS seen) AS visible FROM manager WHERE is_stale
), difference AS (
    SELECT wallet_id, sum(own)::bigint AS own, sum(visible)::bigint AS visible
      FROM (SELECT wallet_id, sum(transfers) AS own, 0 AS visible FROM party GROUP BY wallet_id
             UNION ALL SELECT wallet_id, 0, sum(transfers) FROM viewer GROUP BY wallet_id
             UNION ALL SELECT wallet_id, 0, 0 FROM manager) AS part
     GROUP BY wallet_id
), rolled_up AS (
    INSERT INTO transfers_listtally AS tally (wallet_id, own, visible, managed)
    SELECT wallet_id, coalesce(kept.own, 0) + difference.own,
           coalesce(recounted.visible, coalesce(kept.visible, 0) + difference.visible),
           coalesce(manager.managed, kept.managed, 0)
      FROM difference
      LEFT JOIN transfers_listtally AS kept USING (wallet_id)
      LEFT JOIN manager USING (wallet_id)
      LEFT JOIN recounted USING (wallet_id)
        ON CONFLICT (wallet_id) DO UPDATE
       SET own = excluded.own, visible = excluded.visible, managed = excluded.managed
)
INSERT INTO transfers_listmark AS checkpoint (id, number) VALUES (1, %(settled)s)
    ON CONFLICT (id) DO UPDATE SET number = greatest(checkpoint.number, excluded.number)
