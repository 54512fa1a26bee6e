-- Decides on each row of `parties` (actor_id, source_id, destination_id, is_duplicate, needs_approval). `state` is the
-- state of the new transfer, or says why there is none:
--   'duplicate'  another request has the same idempotency key
--   'same'       source and destination are one wallet
--   'foreign'    the actor controls neither, or actor_id is NULL
--   NULL         a wallet is missing
-- With `needs_approval`, a transfer of an actor that controls the source is pending, and `approval_of` is 'send', until
-- its own side has approved it. The trusts that give the right are locked, so that none ends before the commit. `powers`
-- has bit 1 if the actor manages the source, 2 if it manages the destination, 4 if the source may send to the
-- destination; it is NULL if none of these holds.
-- `{columns}` are those of `parties` that the statement uses behind the decision.
decision AS MATERIALIZED (
    SELECT {columns},
           CASE WHEN is_duplicate THEN 'duplicate'
                WHEN source_id IS NULL OR destination_id IS NULL THEN NULL
                WHEN source_id = destination_id THEN 'same'
                WHEN source_id = actor_id OR held.powers & 1 <> 0 THEN
                    CASE WHEN needs_approval THEN 'pending'
                         WHEN destination_id = actor_id OR held.powers & 6 <> 0 THEN '{completed}'
                         ELSE 'pending' END
                WHEN destination_id = actor_id OR held.powers & 2 <> 0 THEN 'requested'
                ELSE 'foreign' END AS state,
           CASE WHEN needs_approval AND (source_id = actor_id OR held.powers & 1 <> 0) THEN 'send' END AS approval_of
      FROM parties CROSS JOIN LATERAL (
               SELECT bit_or(asked.bit) AS powers
                 FROM (VALUES (1, 'manage', parties.actor_id, parties.source_id),
                              (2, 'manage', parties.actor_id, parties.destination_id),
                              (4, 'send', parties.source_id, parties.destination_id)
                      ) AS asked (bit, power, holder_id, subject_id)
                CROSS JOIN LATERAL (
                          SELECT FROM trusts_power AS trust
                           WHERE trust.holder_id = asked.holder_id AND trust.subject_id = asked.subject_id
                             AND trust.power = asked.power
                             FOR SHARE
                      ) AS granted
           ) AS held
)
