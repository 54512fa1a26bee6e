-- The JSON of a wallet, in lists and in single answers: the fields of WALLET_EXAMPLE in
-- config/api/treetracker/wallet_serializers.py. `wallet` is a row of wallets_wallet with its counts of tokens (held,
-- reserved). Add a field to the part "more", wallet_more.sql: a field of this file is also in the lists of v1, whose
-- fields are fixed. Do not add it to the column `written`, which would rewrite the table.
concat(wallet.written, ',"tokens_in_wallet":', wallet.held, ',"tokens_available":', wallet.held - wallet.reserved,
       ',"tokens_pending":', wallet.reserved, {more} '}')
