-- Counts the tokens of all wallets and corrects the counters.
INSERT INTO transfers_tokentally AS tally (wallet_id, tokens)
SELECT wallet.id, coalesce(held.count, 0) - ({since_checkpoint})
  FROM wallets_wallet AS wallet
  LEFT JOIN (SELECT wallet_id, count(*) FROM wallets_token GROUP BY wallet_id) AS held ON held.wallet_id = wallet.id
    ON CONFLICT (wallet_id) DO UPDATE SET tokens = excluded.tokens
