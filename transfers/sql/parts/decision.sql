-- What becomes of each row of `parties` (line, actor_id, source_id, destination_id, is_duplicate, needs_approval): a state
-- of the new transfer, or why there is none: 'duplicate'; 'same': source and destination are one wallet; 'foreign': the
-- actor controls neither (also if actor_id is NULL); NULL: a wallet is missing. The trusts that give the right are
-- locked, so that none ends before this is committed. With `needs_approval`, a transfer of one who controls the source
-- is pending, and `approval_of` is 'send', until its own side has approved it.
decision AS MATERIALIZED (
    SELECT parties.*,
           CASE WHEN is_duplicate THEN 'duplicate'
                WHEN source_id IS NULL OR destination_id IS NULL THEN NULL
                WHEN source_id = destination_id THEN 'same'
                WHEN source_id = actor_id OR held.over_source THEN
                    CASE WHEN needs_approval THEN 'pending'
                         WHEN destination_id = actor_id OR held.over_destination OR held.shared THEN '{completed}'
                         ELSE 'pending' END
                WHEN destination_id = actor_id OR held.over_destination THEN 'requested'
                ELSE 'foreign' END AS state,
           CASE WHEN needs_approval AND (source_id = actor_id OR held.over_source) THEN 'send' END AS approval_of
      FROM parties CROSS JOIN LATERAL (
               SELECT coalesce(bool_or(asked.name = 'over source'), false) AS over_source,
                      coalesce(bool_or(asked.name = 'over destination'), false) AS over_destination,
                      coalesce(bool_or(asked.name = 'shared'), false) AS shared
                 FROM (VALUES ('over source', 'manage', parties.actor_id, parties.source_id),
                              ('over destination', 'manage', parties.actor_id, parties.destination_id),
                              ('shared', 'send', parties.source_id, parties.destination_id)
                      ) AS asked (name, power, holder_id, subject_id)
                CROSS JOIN LATERAL (
                          SELECT FROM trusts_power AS trust
                           WHERE trust.holder_id = asked.holder_id AND trust.subject_id = asked.subject_id
                             AND trust.power = asked.power
                             FOR SHARE
                      ) AS granted
           ) AS held
)
