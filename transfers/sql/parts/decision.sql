-- What becomes of each row of `parties` (line, actor_id, source_id, destination_id, is_duplicate, and what the source
-- demands an approval for: approval_above, approval_of_new_receivers, with the size of the transfer): a state of the new
-- transfer, or why there is none: 'duplicate'; 'same': source and destination are one wallet; 'foreign': the actor
-- controls neither (also if actor_id is NULL); NULL: a wallet is missing. The trusts that give the right are locked, so
-- that none ends before this is committed. `approval_of` is 'send' if it is pending because its own side must approve it.
decided AS MATERIALIZED (
    SELECT parties.*,
           CASE WHEN is_duplicate THEN 'duplicate'
                WHEN source_id IS NULL OR destination_id IS NULL THEN NULL
                WHEN source_id = destination_id THEN 'same'
                WHEN source_id = actor_id OR held.over_source THEN
                    CASE WHEN destination_id = actor_id OR held.over_destination OR held.shared
                         THEN '{completed}' ELSE 'pending' END
                WHEN destination_id = actor_id OR held.over_destination THEN 'requested'
                ELSE 'foreign' END AS ruling
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
), decision AS MATERIALIZED (
    SELECT decided.*, CASE WHEN approval_of IS NULL THEN ruling ELSE 'pending' END AS state, approval_of
      FROM decided CROSS JOIN LATERAL (
               SELECT CASE WHEN ruling IN ('completed', 'pending')
                                AND (size > approval_above OR approval_of_new_receivers AND NOT EXISTS (
                                        SELECT FROM transfers_knownreceiver AS known
                                         WHERE known.wallet_id = source_id AND known.receiver_id = destination_id))
                           THEN 'send' END AS approval_of
               OFFSET 0
           ) AS approval
)
