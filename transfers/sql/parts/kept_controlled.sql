-- How many wallets the wallet in "me" controls: as kept, or counted if nothing was counted yet, or its
-- control of others changed since.
WITH me AS MATERIALIZED (SELECT %(actor)s::uuid AS id)
SELECT CASE WHEN NOT EXISTS (SELECT FROM transfers_listmark)
              OR EXISTS (SELECT FROM transfers_controlchange WHERE holder_id = (SELECT id FROM me)) THEN ({counted})
            ELSE coalesce((SELECT managed FROM transfers_listtally WHERE wallet_id = (SELECT id FROM me)), 0)
                 + (SELECT count(*) FROM me WHERE id IS NOT NULL) END
