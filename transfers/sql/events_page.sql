-- A page of the events of some wallets. An event is stored (stream 0) or derived from a transfer (streams 1 and 2: the
-- wallet sends, or receives). `head`: the first event of each wallet and stream after the cursor. `reach`: an
-- upper bound of the numbers on this page; wallets whose first event is later are skipped. `shown`: the page.
WITH page AS MATERIALIZED (
    SELECT %(settled)s::bigint AS settled, %(number)s::bigint AS number, %(party)s::int AS party,
           %(since)s::timestamptz AS since, %(fetch)s::bigint AS wanted
), head AS MATERIALIZED (
    SELECT wallet.id AS wallet_id, first.stream, first.number
      FROM unnest((SELECT %(wallets)s::uuid[])) AS wallet (id) CROSS JOIN LATERAL ({heads}) AS first
), reach AS MATERIALIZED (
    SELECT CASE count(*) WHEN (SELECT page.wanted FROM page) THEN max(number) ELSE 9223372036854775807 END AS number
      FROM (SELECT number FROM head ORDER BY number LIMIT (SELECT page.wanted FROM page)) AS nearest
), shown AS MATERIALIZED (
    SELECT within.number, side.party, head.wallet_id, head.stream
      FROM head CROSS JOIN LATERAL ({reaches}) AS within
      JOIN (VALUES {parties}) AS side (stream, party) ON side.stream = head.stream
     WHERE head.number <= (SELECT reach.number FROM reach)
     ORDER BY within.number, side.party
     LIMIT (SELECT page.wanted FROM page) - %(offset)s::bigint OFFSET %(offset)s::bigint
)
SELECT shown.number, shown.party, event.id, event.wallet_id, event.type, event.created_at, event.payload::text
  FROM shown JOIN wallets_event AS event ON event.number = shown.number
 WHERE shown.stream = 0
 UNION ALL
SELECT shown.number, shown.party, md5(transfer.id::text || shown.party)::uuid, shown.wallet_id,
       CASE WHEN first.state = 'completed' THEN 'transfer_completed'
            WHEN transfer.approval_of = 'send' THEN 'transfer_approval_requested'
            ELSE 'transfer_requested' END,
       transfer.created_at, ({payload})::text
  FROM shown JOIN transfers_transfer AS transfer ON transfer.number = shown.number
  JOIN wallets_wallet AS source ON source.id = transfer.source_id
  JOIN wallets_wallet AS destination ON destination.id = transfer.destination_id
 CROSS JOIN LATERAL (SELECT {state_as_created}) AS first (state)
 WHERE shown.stream > 0
 ORDER BY 1, 2
