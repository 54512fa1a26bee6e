-- Whether a wallet that demands approvals for new receivers never sent to another. A function, so that the statement of
-- a transfer opens the table only for such a wallet.
CREATE FUNCTION transfers_is_new_receiver(source uuid, destination uuid) RETURNS boolean LANGUAGE plpgsql STABLE AS $$
BEGIN
    RETURN NOT EXISTS (SELECT FROM transfers_knownreceiver AS known
                        WHERE known.wallet_id = source AND known.receiver_id = destination);
END $$;
