-- Counts the transfers since the checkpoint, up to the settled number, for each party and for each wallet that sees
-- them, and counts anew for wallets whose control changed. One statement, so that all it reads is of one snapshot.
WITH checkpoint AS MATERIALIZED (
    SELECT coalesce(max(number), 0) AS number FROM transfers_listmark
), changed AS MATERIALIZED (
    DELETE FROM transfers_controlchange RETURNING holder_id, subject_id
), newer AS MATERIALIZED (
    SELECT number, source_id, destination_id, originator_id FROM transfers_transfer
     WHERE number > (SELECT number FROM checkpoint) AND number <= %(settled)s
), party AS MATERIALIZED (
    SELECT number, source_id AS wallet_id FROM newer
     UNION SELECT number, destination_id FROM newer
     UNION SELECT number, originator_id FROM newer
), viewer AS (
    SELECT number, wallet_id FROM party
     UNION SELECT party.number, power.holder_id
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
      FROM (SELECT wallet_id, count(*) AS own, 0 AS visible FROM party GROUP BY wallet_id
             UNION ALL SELECT wallet_id, 0, count(*) FROM viewer GROUP BY wallet_id
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
