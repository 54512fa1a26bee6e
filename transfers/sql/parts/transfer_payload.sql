-- The payload of an event about a transfer, in the form of the public service. `source` and `destination` are its
-- wallets, `{state}` the state after the event, `{awaits}` whether it awaits an approval then.
jsonb_build_object('transferId', transfer.id, 'walletSender', source.name, 'walletReceiver', destination.name,
                   'transferState', {state}, 'claim', false)
|| CASE WHEN transfer.parameters ? 'tokens'
        THEN jsonb_build_object('tokenTransferred', transfer.parameters -> 'tokens')
        ELSE jsonb_build_object('bundle', transfer.parameters -> 'bundle' -> 'bundleSize') END
|| CASE WHEN {awaits} THEN '{"awaitingApproval": true}'::jsonb ELSE '{}'::jsonb END
