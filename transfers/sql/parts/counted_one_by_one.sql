counted AS MATERIALIZED (
    SELECT wallet.*, (coalesce(tally.tokens, 0) + {since_checkpoint})::bigint AS held,
           (coalesce((SELECT sum(reserved_count) FROM transfers_transfer
                       WHERE source_id = wallet.id AND state = 'pending'), 0)
            + coalesce((SELECT sum(token_count) FROM transfers_actiontoken
                         WHERE sender_id = wallet.id AND state = 'active'), 0))::bigint AS reserved
      FROM page AS wallet LEFT JOIN transfers_tokentally AS tally ON tally.wallet_id = wallet.id
)
