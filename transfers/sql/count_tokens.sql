-- The number of tokens in each wallet, and of those that are reserved.
SELECT wallet.id, coalesce(tally.tokens, 0) + {since_checkpoint},
       coalesce((SELECT sum(reserved_count) FROM transfers_transfer
                  WHERE source_id = wallet.id AND state = 'pending'), 0)
       + coalesce((SELECT sum(token_count) FROM transfers_actiontoken
                    WHERE sender_id = wallet.id AND state = 'active'), 0)
  FROM unnest((SELECT %(wallets)s::uuid[])) AS wallet (id)
  LEFT JOIN transfers_tokentally AS tally ON tally.wallet_id = wallet.id
