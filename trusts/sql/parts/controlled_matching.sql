-- Common table expressions: "visible" has the wallets that the wallet in "me" controls, as far as they match. All of
-- them are read, so that they can be sorted by name and counted.
WITH me AS MATERIALIZED (SELECT %(actor)s::uuid AS id), managed AS (
    SELECT power.subject_id AS id, {kinds}
      FROM trusts_power AS power {trusts}
     WHERE power.holder_id = (SELECT id FROM me) AND power.power = 'manage' AND power.managed_created_at IS NOT NULL
     GROUP BY power.subject_id
), visible AS MATERIALIZED (
    SELECT wallet.id, wallet.name, wallet.created_at, false AS is_own
      FROM managed JOIN wallets_wallet AS wallet ON wallet.id = managed.id
     WHERE {managed}
    UNION ALL
    SELECT wallet.id, wallet.name, wallet.created_at, true
      FROM me JOIN wallets_wallet AS wallet ON wallet.id = me.id
     WHERE {own}
)
