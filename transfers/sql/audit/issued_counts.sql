SELECT format('%%s tokens, %%s issued', held.tokens, issued.tokens)
  FROM (SELECT count(*) AS tokens FROM wallets_token) AS held,
       (SELECT coalesce(sum(tokens), 0) AS tokens FROM transfers_issue) AS issued
 WHERE held.tokens <> issued.tokens
