-- Transfers of the wallets in `{party}`, each once: `{source}` and `{destination}` say that one of them is that of the
-- transfer, `{extra}` is one more condition that an index serves. Each wallet is looked up (OFFSET 0): where a few
-- wallets manage very many, the planner expects that of each, and would read the transfers of all wallets.
SELECT transfer.*
  FROM {party} AS party
 CROSS JOIN LATERAL (SELECT * FROM transfers_transfer WHERE source_id = party.id {extra} OFFSET 0) AS transfer
 UNION ALL
SELECT transfer.*
  FROM {party} AS party
 CROSS JOIN LATERAL (SELECT * FROM transfers_transfer WHERE destination_id = party.id {extra} OFFSET 0) AS transfer
 WHERE NOT ({source})
 UNION ALL
SELECT transfer.*
  FROM {party} AS party
 CROSS JOIN LATERAL (
           SELECT * FROM transfers_transfer
            WHERE originator_id = party.id AND originator_id <> source_id AND originator_id <> destination_id {extra}
           OFFSET 0) AS transfer
 WHERE NOT ({source}) AND NOT ({destination})
