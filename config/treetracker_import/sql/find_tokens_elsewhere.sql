-- Tokens that are in another wallet than that to which their last transaction brought them.
INSERT INTO import_finding (kind, object, id, detail, action, other)
SELECT 'token_elsewhere', 'token', token.id,
       format('is in %%s, but its history ends in %%s', token.wallet_id,
              coalesce(chain.last_destination, token.here_wallet_id)),
       'correct', coalesce(chain.last_destination, token.here_wallet_id)
  FROM import_token AS token LEFT JOIN import_chain AS chain ON chain.token_id = token.id
 WHERE NOT token.is_kept_here AND token.wallet_id <> coalesce(chain.last_destination, token.here_wallet_id)
