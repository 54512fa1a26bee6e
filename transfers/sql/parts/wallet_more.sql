-- Further fields of a wallet's JSON: those of MORE_EXAMPLE in config/api/treetracker/wallet_serializers.py.
',"cover_url":', coalesce(to_json(wallet.cover_url), 'null'), ',"display_name":',
coalesce(to_json(nullif(wallet.display_name, '')), 'null'),
