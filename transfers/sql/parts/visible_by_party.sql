-- Transfers of wallets, each once: `{source}`, `{destination}` and `{originator}` are conditions, `{extra}` is one more
-- that an index serves.
SELECT * FROM transfers_transfer WHERE {source} {extra}
 UNION ALL
SELECT * FROM transfers_transfer WHERE {destination} AND NOT ({source}) {extra}
 UNION ALL
SELECT * FROM transfers_transfer
 WHERE {originator} AND originator_id <> source_id AND originator_id <> destination_id
   AND NOT ({source}) AND NOT ({destination}) {extra}
