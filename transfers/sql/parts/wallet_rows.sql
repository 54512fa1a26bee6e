-- Wallets with their token counts as JSON, in the fields and the order of
-- config.api.treetracker.wallet_serializers.wallet up to its last two.
WITH page AS (
    SELECT listed.*, wallet.written
      FROM ({listed}) AS listed JOIN wallets_wallet AS wallet ON wallet.id = listed.id
), {counted}
SELECT concat(written, ',"tokens_in_wallet":', held, ',"tokens_available":', held - reserved,
              ',"tokens_pending":', reserved, '}') AS json, counted.*
  FROM counted ORDER BY is_own, created_at, id
