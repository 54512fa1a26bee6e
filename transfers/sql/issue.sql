-- Creates a token for each capture that has none, and returns how many.
WITH issued AS (
    INSERT INTO wallets_token (
           id, capture_id, wallet_id, moves, arrival, lot, claim, created_at, updated_at)
    SELECT coalesce(new.id, gen_random_uuid()), new.capture_id, %(wallet)s::uuid, 0, nextval('transfers_arrival'),
           floor(random() * 4294967296 - 2147483648)::integer, false, clock.at, clock.at
      FROM unnest(%(ids)s::uuid[], %(captures)s::uuid[]) AS new (id, capture_id),
           (SELECT clock_timestamp() AS at) AS clock
        ON CONFLICT (capture_id) DO NOTHING
 RETURNING id, arrival, created_at
), history AS (
    INSERT INTO transfers_movement (id, token_id, number, transfer_number, source_id, destination_id, processed_at)
    SELECT arrival, id, 0, NULL, NULL, %(wallet)s::uuid, created_at FROM issued
), counted AS (
    INSERT INTO transfers_tallydelta (wallet_id, tokens, at, is_issue)
    SELECT %(wallet)s::uuid, count(*), max(created_at), true FROM issued
 RETURNING tokens, at
), noted AS (
    INSERT INTO transfers_issue (wallet_id, tokens, issued_at)
    SELECT %(wallet)s::uuid, tokens, at FROM counted WHERE tokens > 0
)
SELECT tokens FROM counted
