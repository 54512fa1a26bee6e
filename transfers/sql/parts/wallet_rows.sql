-- Wallets with their token counts, as JSON.
WITH page AS (
    SELECT wallet.*, listed.is_own
      FROM ({listed}) AS listed JOIN wallets_wallet AS wallet ON wallet.id = listed.id
), {counted}
SELECT {json} AS json, wallet.is_own, wallet.created_at, wallet.name, wallet.id{is_all}
  FROM counted AS wallet ORDER BY {order}
