-- The new wallets. `{texts}` are the columns of their texts, and `{values}` what they hold.
INSERT INTO wallets_wallet (id, name, name_key, password, {texts}, created_at)
SELECT id, new_name, new_key,
       CASE WHEN coalesce({usable}, false) THEN concat_ws('$', 'treetracker_hmac_sha512', salt, password) ELSE '' END,
       {values}, created_at
  FROM import_wallet WHERE is_new
