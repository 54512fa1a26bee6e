-- Tokens that a wallet, the row `wallet`, gained since the checkpoint, or lost if negative. Wallet and number are compared
-- as a pair, so that the planner uses the index (wallet, number): one on the number alone would read all wallets.
coalesce((SELECT sum(tokens) FROM transfers_tallydelta WHERE wallet_id = wallet.id), 0)
+ coalesce((SELECT sum(moved_count) FROM transfers_transfer
             WHERE (destination_id, number) > (wallet.id, (SELECT coalesce(max(number), 0) FROM transfers_tallymark))
               AND (destination_id, number) <= (wallet.id, 9223372036854775807)
               AND state = 'completed' AND closed_event = ''), 0)
- coalesce((SELECT sum(moved_count) FROM transfers_transfer
             WHERE (source_id, number) > (wallet.id, (SELECT coalesce(max(number), 0) FROM transfers_tallymark))
               AND (source_id, number) <= (wallet.id, 9223372036854775807)
               AND state = 'completed' AND closed_event = ''), 0)
