-- What the lists of each wallet count up to the checkpoint. A wallet that manages no other sees its own transfers. One
-- whose control of others changed since is not counted. Transfers among the same wallets are counted together.
WITH checkpoint AS MATERIALIZED (
    SELECT max(number) AS number FROM transfers_listmark
), control AS MATERIALIZED (
    SELECT DISTINCT holder_id, subject_id FROM trusts_power WHERE power = 'manage'
), together AS MATERIALIZED (
    SELECT row_number() OVER () AS id, source_id, destination_id, originator_id, count(*) AS transfers
      FROM transfers_transfer WHERE number <= (SELECT number FROM checkpoint)
     GROUP BY source_id, destination_id, originator_id
), party AS MATERIALIZED (
    SELECT id, transfers, source_id AS wallet_id FROM together
     UNION SELECT id, transfers, destination_id FROM together
     UNION SELECT id, transfers, originator_id FROM together
), own AS (
    SELECT wallet_id, sum(transfers) AS transfers FROM party GROUP BY wallet_id
), visible AS (
    SELECT wallet_id, sum(transfers) AS transfers
      FROM (SELECT id, transfers, control.holder_id AS wallet_id
              FROM control JOIN party ON party.wallet_id = control.subject_id
             UNION SELECT id, transfers, wallet_id
                     FROM party WHERE wallet_id IN (SELECT holder_id FROM control)) AS seen
     GROUP BY wallet_id
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
   AND (SELECT number FROM checkpoint) IS NOT NULL
   AND NOT EXISTS (SELECT FROM transfers_controlchange AS changed WHERE changed.holder_id = wallet_id)
 UNION ALL
-- What lists by time and with dates rest on: no time is outside of what is kept for 1,024 numbers
-- (`transfers.list_counts.SPAN`).
SELECT format('transfers with the numbers from %%s to %%s are between %%s and %%s, and up to %%s older than one with a'
              ' lower number; kept are %%s, %%s and %%s',
              span * 1024, span * 1024 + 1023, found.oldest_at, found.newest_at, found.spread,
              kept.oldest_at, kept.newest_at, kept.spread)
  FROM (SELECT span, max(newest_at) AS newest_at, min(oldest_at) AS oldest_at, max(newest_at - created_at) AS spread
          FROM (SELECT number / 1024 AS span, created_at, max(created_at) OVER (ORDER BY number) AS newest_at,
                       min(created_at) OVER (ORDER BY number DESC) AS oldest_at
                  FROM transfers_transfer WHERE number <= (SELECT number FROM checkpoint)) AS each
         GROUP BY span) AS found
  LEFT JOIN transfers_listspan AS kept USING (span)
 WHERE (kept.newest_at >= found.newest_at AND kept.oldest_at <= found.oldest_at AND kept.spread >= found.spread)
       IS NOT TRUE
