-- The fields that only a single wallet's JSON has: those of ONE_WALLET_EXAMPLE behind the others.
',"display_name":', coalesce(to_json(nullif(wallet.display_name, '')), 'null'), ',"wallet":', to_json(wallet.name),
