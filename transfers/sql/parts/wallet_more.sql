-- The fields that only a single wallet's JSON has: those of ONE_WALLET_EXAMPLE behind the others.
',"cover_url":', coalesce(to_json(wallet.cover_url), 'null'), ',"display_name":',
coalesce(to_json(nullif(wallet.display_name, '')), 'null'), ',"wallet":', to_json(wallet.name),
