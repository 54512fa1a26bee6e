-- The days of all wallets, up to the checkpoint.
WITH {all_lines}
INSERT INTO transfers_walletday (wallet_id, day, received, sent, issued, lines, first_number, last_number)
{wallet_days} ORDER BY 1, 2
