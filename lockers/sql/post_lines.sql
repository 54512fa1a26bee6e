-- Changes the balances of accounts, locked in the order of their wallets, appends a line to each statement, and returns
-- the new balances.
WITH change AS MATERIALIZED (
    SELECT * FROM unnest(%(wallets)s::uuid[], %(units)s::numeric[], %(types)s::text[], %(others)s::uuid[])
        AS change (wallet_id, units, type, other_wallet_id)
), locked AS MATERIALIZED (
    SELECT wallet_id FROM lockers_account WHERE wallet_id = ANY(%(wallets)s) ORDER BY wallet_id FOR NO KEY UPDATE
), account AS (
    UPDATE lockers_account AS account SET balance = account.balance + change.units, lines = account.lines + 1
      FROM change JOIN locked USING (wallet_id) WHERE account.wallet_id = change.wallet_id
    RETURNING account.wallet_id, account.balance, account.lines
)
INSERT INTO lockers_statementline (wallet_id, number, task_id, type, amount, running_balance, other_wallet_id)
SELECT wallet_id, account.lines, %(task)s, change.type, change.units, account.balance, change.other_wallet_id
  FROM change JOIN account USING (wallet_id)
RETURNING wallet_id, running_balance
