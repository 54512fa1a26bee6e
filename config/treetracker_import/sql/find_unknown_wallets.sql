-- Adds a placeholder for each wallet that the source names and does not have.
INSERT INTO import_wallet (id, name, created_at, is_placeholder)
SELECT named.id, 'unknown-' || named.id, min(named.at), true
  FROM (SELECT wallet_id AS id, created_at AS at FROM import_token
         UNION ALL
        SELECT originator_wallet_id, created_at FROM import_transfer WHERE fate <> 'left_out'
         UNION ALL
        SELECT source_wallet_id, created_at FROM import_transfer WHERE fate <> 'left_out'
         UNION ALL
        SELECT destination_wallet_id, created_at FROM import_transfer WHERE fate <> 'left_out'
         UNION ALL
        SELECT source_wallet_id, processed_at FROM import_transaction
         UNION ALL
        SELECT destination_wallet_id, processed_at FROM import_transaction) AS named
 WHERE NOT EXISTS (SELECT FROM import_wallet AS wallet WHERE wallet.id = named.id)
 GROUP BY named.id
