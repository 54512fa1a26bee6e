-- Reserves the selected tokens for claim links, equally many for each, and inserts the links: all, or none.
WITH source AS MATERIALIZED (
    SELECT %(sender)s::uuid AS source_id
), {selection}, guard AS MATERIALIZED (
    SELECT source_id, clock_timestamp() AS at FROM source CROSS JOIN selected WHERE cardinality(ids) = %(size)s::integer
), placed AS MATERIALIZED (
    SELECT id, (%(ids)s::uuid[])[(place - 1) / %(each)s::integer + 1] AS link_id
      FROM unnest((SELECT ids FROM selected)) WITH ORDINALITY AS token (id, place)
), link AS MATERIALIZED (
    SELECT id, digest FROM unnest(%(ids)s::uuid[], %(digests)s::bytea[]) AS link (id, digest)
), changed AS (
    UPDATE wallets_token AS token SET transfer_pending_id = placed.link_id, updated_at = guard.at
      FROM guard CROSS JOIN placed
     WHERE token.id = ANY (ARRAY[placed.id])
 RETURNING token.transfer_pending_id AS link_id
)
INSERT INTO transfers_actiontoken (
       id, digest, originator_id, sender_id, token_count, recipient_email, email_must_match, message, state,
       created_at, expires_at)
SELECT link.id, link.digest, %(actor)s::uuid, guard.source_id, counted.tokens, %(email)s::text,
       %(must_match)s::boolean, %(message)s::text, 'active', guard.at,
       coalesce(%(expires_at)s::timestamptz, guard.at + %(lifetime)s::interval)
  FROM guard CROSS JOIN (link FULL JOIN (SELECT link_id, count(*) AS tokens FROM changed GROUP BY link_id) AS counted
                                     ON counted.link_id = link.id)
RETURNING id, created_at, expires_at, token_count
