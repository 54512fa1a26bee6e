SELECT format('wallet %%s holds %%s tokens, %%s of them reserved; the tally says %%s and %%s', wallet.id,
              coalesce(held.count, 0), coalesce(held.reserved, 0), wallet.tokens, wallet.reserved)
  FROM (SELECT wallet.id,
               coalesce(tally.tokens, 0)
               + coalesce((SELECT sum(tokens) FROM transfers_tallydelta WHERE wallet_id = wallet.id), 0)
               + coalesce((SELECT sum(moved_count) FROM transfers_transfer
                            WHERE (destination_id, number)
                                  > (wallet.id, (SELECT coalesce(max(number), 0) FROM transfers_tallymark))
                              AND (destination_id, number) <= (wallet.id, 9223372036854775807)
                              AND state = 'completed' AND closed_event = ''), 0)
               - coalesce((SELECT sum(moved_count) FROM transfers_transfer
                            WHERE (source_id, number)
                                  > (wallet.id, (SELECT coalesce(max(number), 0) FROM transfers_tallymark))
                              AND (source_id, number) <= (wallet.id, 9223372036854775807)
                              AND state = 'completed' AND closed_event = ''), 0) AS tokens,
               coalesce((SELECT sum(reserved_count) FROM transfers_transfer
                          WHERE source_id = wallet.id AND state = 'pending'), 0)
               + coalesce((SELECT sum(token_count) FROM transfers_actiontoken
                            WHERE sender_id = wallet.id AND state = 'active'), 0) AS reserved
          FROM {wallets} AS wallet LEFT JOIN transfers_tokentally AS tally ON tally.wallet_id = wallet.id
       ) AS wallet
  LEFT JOIN (SELECT token.wallet_id, count(*), count(token.transfer_pending_id) AS reserved
               FROM {holdings} AS token GROUP BY token.wallet_id) AS held ON held.wallet_id = wallet.id
 WHERE coalesce(held.count, 0) <> wallet.tokens OR coalesce(held.reserved, 0) <> wallet.reserved
