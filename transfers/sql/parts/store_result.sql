-- The idempotency key and the effect are stored by one statement: both, or neither. If a request with the
-- same key committed while this statement ran, the unique key rejects this row, and so the statement.
stored AS (
    INSERT INTO wallets_idempotentanswer (wallet_id, key, fingerprint, result_id)
    SELECT %(actor)s::uuid, %(key)s::varchar, %(fingerprint)s::bytea, %(id)s::uuid FROM written
)
