-- Wallets of one name. One that is in Coppice keeps it; otherwise the oldest that has tokens, or the oldest.
SELECT id, name, kept, kept_name
  FROM (SELECT id, name, side, row_number() OVER same AS place, first_value(id) OVER same AS kept,
               first_value(name) OVER same AS kept_name
          FROM (SELECT id, name, name_key, tokens = 0 AS is_empty, created_at, is_new::integer AS side
                  FROM import_wallet WHERE new_name IS NULL
                 UNION ALL
                SELECT id, name, name_key, false, created_at, 0 FROM wallets_wallet AS here
                 WHERE NOT EXISTS (SELECT FROM import_wallet AS wallet WHERE wallet.id = here.id)) AS wallet
        WINDOW same AS (PARTITION BY name_key ORDER BY side, is_empty, created_at, id)) AS found
 WHERE place > 1 AND side = 1 ORDER BY kept, place
