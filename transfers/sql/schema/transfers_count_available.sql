-- How many free tokens a wallet has, counted up to `most`. A function, so that the statement of a transfer prepares the
-- count only for a request: 2 % of the instructions of a transfer.
CREATE FUNCTION transfers_count_available(wallet uuid, most integer) RETURNS bigint LANGUAGE plpgsql STABLE AS $$
BEGIN
    RETURN (SELECT count(*)
              FROM (SELECT FROM wallets_token AS token
                     WHERE token.wallet_id = wallet AND token.transfer_pending_id IS NULL LIMIT most) AS available);
END $$;
