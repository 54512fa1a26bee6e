-- Reserves the selected tokens for a requested transfer, which the caller has locked, until its own side has approved
-- the fulfilment.
WITH source AS MATERIALIZED (
    SELECT number, source_id FROM transfers_transfer WHERE id = %(id)s::uuid
), {selection}, guard AS MATERIALIZED (
    SELECT *, clock_timestamp() AS at FROM source CROSS JOIN selected WHERE cardinality(ids) = %(size)s::integer
), changed AS (
    UPDATE wallets_token AS token SET transfer_pending_id = %(id)s::uuid, updated_at = guard.at
      FROM guard
     WHERE token.id = ANY (guard.ids)
 RETURNING token.id
)
UPDATE transfers_transfer AS transfer
   SET state = 'pending', reserved_count = (SELECT count(*) FROM changed), approval_of = 'fulfill',
       approval_asked_by_id = %(actor)s::uuid, approval_asked_with = %(credential)s::uuid
  FROM guard
 WHERE transfer.number = guard.number
RETURNING transfer.number
