-- The new trusts, in the order of their creation, each with one change: what it is now, by its originator.
WITH written AS (
    INSERT INTO trusts_trust (id, number, actor_id, target_id, originator_id, request_type, state, withdrawn,
                              created_at, updated_at)
    SELECT id, nextval('trusts_trust_number'), actor_wallet_id, target_wallet_id, originator_wallet_id, request_type,
           state, state = 'cancelled_by_originator', created_at, updated_at
      FROM (SELECT * FROM import_trust WHERE fate = 'new' ORDER BY created_at, id) AS trust
 RETURNING id, originator_id, state, updated_at
)
INSERT INTO trusts_trustchange (trust_id, actor_id, event, state, created_at)
SELECT id, originator_id, '', state, updated_at FROM written
