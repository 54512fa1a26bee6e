-- What the lists of each wallet count up to the checkpoint. A wallet that manages no other sees its own transfers. One
-- whose control of others changed since is not counted.
WITH checkpoint AS MATERIALIZED (
    SELECT coalesce(max(number), 0) AS number FROM transfers_listmark
), control AS MATERIALIZED (
    SELECT DISTINCT holder_id, subject_id FROM trusts_power WHERE power = 'manage'
), party AS MATERIALIZED (
    SELECT number, source_id AS wallet_id FROM transfers_transfer WHERE number <= (SELECT number FROM checkpoint)
     UNION ALL
    SELECT number, destination_id FROM transfers_transfer WHERE number <= (SELECT number FROM checkpoint)
     UNION ALL
    SELECT number, originator_id FROM transfers_transfer
     WHERE number <= (SELECT number FROM checkpoint) AND originator_id <> source_id AND originator_id <> destination_id
), own AS (
    SELECT wallet_id, count(*) AS transfers FROM party GROUP BY wallet_id
), visible AS (
    SELECT holder_id AS wallet_id, count(DISTINCT number) AS transfers
      FROM (SELECT control.holder_id, party.number FROM control JOIN party ON party.wallet_id = control.subject_id
             UNION ALL
            SELECT wallet_id, number FROM party WHERE wallet_id IN (SELECT holder_id FROM control)) AS seen
     GROUP BY holder_id
), managed AS (
    SELECT holder_id AS wallet_id, count(*) AS wallets FROM control GROUP BY holder_id
), counted AS (
    SELECT wallet_id, coalesce(own.transfers, 0) AS own, coalesce(visible.transfers, own.transfers, 0) AS visible,
           coalesce(managed.wallets, 0) AS managed
      FROM own FULL JOIN visible USING (wallet_id) FULL JOIN managed USING (wallet_id)
)
SELECT format('the lists of wallet %%s have %%s transfers, %%s visible, and %%s managed wallets;'
              ' kept are %%s, %%s and %%s',
              wallet_id, coalesce(counted.own, 0), coalesce(counted.visible, 0), coalesce(counted.managed, 0),
              coalesce(kept.own, 0), coalesce(kept.visible, 0), coalesce(kept.managed, 0))
  FROM counted FULL JOIN transfers_listtally AS kept USING (wallet_id)
 WHERE (coalesce(counted.own, 0), coalesce(counted.visible, 0), coalesce(counted.managed, 0))
       <> (coalesce(kept.own, 0), coalesce(kept.visible, 0), coalesce(kept.managed, 0))
   AND NOT EXISTS (SELECT FROM transfers_controlchange AS changed WHERE changed.holder_id = wallet_id)
